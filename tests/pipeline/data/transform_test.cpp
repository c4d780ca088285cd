#include "data_files.hpp"

#include <creel/pipeline/config/transform_spec.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace creel::pipeline;

namespace {

// The first message with which a config's transforms are refused.
std::string refusal(const std::string& text) {
  const std::vector<TransformMistake> mistakes = check_transforms(parse_transforms(text));
  return mistakes.empty() ? "accepted" : mistakes.front().message;
}

Sample stored(std::uint32_t side = 8, std::int64_t index = 0) {
  Sample sample;
  sample.key = "000000 of t.tar";
  sample.index = index;
  sample.set("png", creel_test::pattern_png(side, side));
  sample.set("txt", creel_test::bytes_of(" a photo of the digit 7\n"));
  sample.set("cls", creel_test::bytes_of("7\n"));
  return sample;
}

Sample run(const std::string& text, Sample sample, std::uint64_t seed = 0) {
  const TransformChain chain(parse_transforms(text));
  Scratch scratch;
  const std::optional<creel::Failure> failure = chain.apply(sample, seed, scratch);
  REQUIRE_MESSAGE(!failure, failure->message);
  return sample;
}

std::vector<std::uint8_t> image_of(const Sample& sample) {
  const auto values = sample.get<HostTensor>("image")->values<std::uint8_t>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("decode turns files into an image, a caption and a label") {
  const Sample sample = run("decode", stored(5));
  CHECK(sample.get<HostTensor>("image")->shape() == std::vector<std::int64_t>{5, 5, 3});
  CHECK(image_of(sample) == creel_test::rgb_pattern(5, 5));
  CHECK(*sample.get<std::string>("caption") == "a photo of the digit 7");
  CHECK(sample.get<HostTensor>("label")->values<std::int64_t>()[0] == 7);
  CHECK(sample.get<HostTensor>("label")->shape().empty());
  CHECK(sample.find("png") == nullptr);
}

TEST_CASE("what cannot be decoded is a failure that names the transform and the reason") {
  const TransformChain chain(parse_transforms("decode | resize(4)"));
  Scratch scratch;
  const auto why = [&](Sample sample) { return chain.apply(sample, 0, scratch).value().message; };
  Sample sample = stored();
  sample.get<Bytes>("png")->resize(60);
  CHECK(why(std::move(sample)) == "decode: truncated PNG of 60 bytes");
  sample = stored();
  sample.set("cls", creel_test::bytes_of("seven"));
  CHECK(why(std::move(sample)) == "decode: .cls holds 'seven', not a whole number");
  sample = stored();
  sample.remove("png");
  CHECK(why(std::move(sample)) == "resize: the sample has no image");
  sample = stored();
  sample.remove("png");
  sample.set("jpg", creel_test::bytes_of("\xFF\xD8"));
  CHECK(why(std::move(sample)) == "decode: the image is a .jpg; this build reads .png");
}

TEST_CASE("resize makes the size asked for") {
  CHECK(run("decode | resize(4)", stored()).get<HostTensor>("image")->shape() ==
        std::vector<std::int64_t>{4, 4, 3});
  CHECK(run("decode | resize(4, 6)", stored()).get<HostTensor>("image")->shape() ==
        std::vector<std::int64_t>{4, 6, 3});
}

TEST_CASE("normalize is (pixel / 255 - mean) / std, channel by channel") {
  const Sample before = run("decode", stored(6));
  const std::vector<std::uint8_t> pixels = image_of(before);
  struct Case {
    std::string call;
    std::array<double, 3> mean;
    std::array<double, 3> deviation;
  };
  for (const Case& c :
       {Case{"normalize(0.5, 0.25)", {0.5, 0.5, 0.5}, {0.25, 0.25, 0.25}},
        Case{"normalize(0.1, 0.2, 0.3, 1, 2, 4)", {0.1, 0.2, 0.3}, {1, 2, 4}},
        Case{"normalize(clip)", {0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}},
        Case{"normalize(imagenet)", {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}}}) {
    CAPTURE(c.call);
    const Sample sample = run("decode | " + c.call, stored(6));
    const auto* const values = sample.get<HostTensor>("pixel_values");
    REQUIRE(values->shape() == std::vector<std::int64_t>{3, 6, 6});
    CHECK(sample.find("image") == nullptr);
    for (std::size_t i = 0; i < 36; ++i) {
      for (std::size_t channel = 0; channel < 3; ++channel) {
        const double expected = (pixels[i * 3 + channel] / 255.0 - c.mean[channel]) / c.deviation[channel];
        CHECK(values->values<float>()[channel * 36 + i] == doctest::Approx(expected));
      }
    }
  }
}

TEST_CASE("tokenize makes the ids of CLIP, start, end and padding included") {
  const Sample sample = run("decode | tokenize(bpe, 9)", stored());
  const auto ids = sample.get<HostTensor>("input_ids")->values<std::int64_t>();
  // Hugging Face CLIPTokenizer("a photo of the digit 7", padding="max_length", max_length=9).
  CHECK(std::vector<std::int64_t>(ids.begin(), ids.end()) ==
        std::vector<std::int64_t>{49406, 320, 1125, 539, 518, 27472, 278, 49407, 49407});
  CHECK(sample.get<std::string>("caption") != nullptr);
}

TEST_CASE("affine with nothing to do changes nothing") {
  CHECK(image_of(run("decode | affine(0)", stored())) == creel_test::rgb_pattern(8, 8));
}

TEST_CASE("affine turns about the centre, moves and scales as far as asked") {
  // A bright dot in the middle stays under any turn; the corners of a white image get black ones from
  // outside.
  HostTensor image(ElementType::U8, {9, 9, 3});
  std::fill(image.values<std::uint8_t>().begin(), image.values<std::uint8_t>().end(), std::uint8_t{0});
  for (std::size_t c = 0; c < 3; ++c) image.values<std::uint8_t>()[(4 * 9 + 4) * 3 + c] = 255;
  const auto centre_of = [](const Sample& sample) {
    const auto pixels = sample.get<HostTensor>("image")->values<std::uint8_t>();
    double total = 0;
    double x = 0;
    double y = 0;
    for (std::size_t i = 0; i < 81; ++i) {
      total += pixels[i * 3];
      x += pixels[i * 3] * static_cast<double>(i % 9);
      y += pixels[i * 3] * static_cast<double>(i / 9);
    }
    return std::pair{x / total - 4, y / total - 4};
  };
  const auto moved = [&](const std::string& call, std::uint64_t seed) {
    Sample sample;
    HostTensor copy(ElementType::U8, {9, 9, 3});
    std::copy(image.values<std::uint8_t>().begin(), image.values<std::uint8_t>().end(),
              copy.values<std::uint8_t>().begin());
    sample.set("image", std::move(copy));
    const TransformChain chain(parse_transforms("decode | " + call));
    Scratch scratch;
    sample.index = static_cast<std::int64_t>(seed);
    REQUIRE_FALSE(chain.apply(sample, seed, scratch));
    return centre_of(sample);
  };
  double farthest = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto [turned_x, turned_y] = moved("affine(90)", seed);
    CHECK(std::abs(turned_x) < 0.02);
    CHECK(std::abs(turned_y) < 0.02);
    const auto [x, y] = moved("affine(0, 0.2)", seed);
    CHECK(std::abs(x) <= 0.2 * 9 + 0.02);
    CHECK(std::abs(y) <= 0.2 * 9 + 0.02);
    farthest = std::max({farthest, std::abs(x), std::abs(y)});
  }
  CHECK(farthest > 1.4);
}

TEST_CASE("randomness belongs to seed, epoch, sample and place in the chain") {
  const auto augmented = [](std::uint64_t seed, std::int64_t epoch, std::int64_t index,
                            const std::string& chain) {
    Sample sample = stored(16, index);
    sample.epoch = epoch;
    return image_of(run(chain, std::move(sample), seed));
  };
  const std::string one = "decode | affine(20, 0.1, 0.1)";
  const auto base = augmented(1, 2, 3, one);
  CHECK(augmented(1, 2, 3, one) == base);
  CHECK(augmented(2, 2, 3, one) != base);
  CHECK(augmented(1, 3, 3, one) != base);
  CHECK(augmented(1, 2, 4, one) != base);
  CHECK(augmented(1, 2, 3, "decode | resize(16) | affine(20, 0.1, 0.1)") != base);
}

TEST_CASE("wrong calls are refused with what would be right") {
  CHECK(refusal("decode | resize(32) | affine(10, 0.1, 0.1) | normalize(0.5, 0.5) | tokenize(bpe, 16)") ==
        "accepted");
  CHECK(refusal("resise(3)") == "no transform is called 'resise'; did you mean resize?");
  CHECK(refusal("zzz") ==
        "no transform is called 'zzz'; there are affine, decode, normalize, resize, tokenize");
  CHECK(refusal("resize") == "resize: the argument height is missing");
  CHECK(refusal("resize(big)") == "resize(big): height is 'big'; give a whole number from 1 to 16384");
  CHECK(refusal("resize(0)") == "resize(0): height is '0'; give a whole number from 1 to 16384");
  CHECK(refusal("resize(1, 2, 3)") == "resize(1, 2, 3): takes 2 arguments, not 3");
  CHECK(refusal("decode(1)") == "decode(1): takes 0 arguments, not 1");
  CHECK(refusal("affine(nan)") == "affine(nan): degrees is 'nan'; give a number from 0 to 180");
  CHECK(refusal("normalize(0.5, 0)") == "normalize(0.5, 0): std is '0'; give a number from 1e-06 to 100");
  CHECK(refusal("normalize(0.5, 0.5, 0.5)") == "normalize(0.5, 0.5, 0.5): the argument std is missing");
  CHECK(refusal("normalize(klip)") == "normalize(klip): statistics is 'klip'; give clip or imagenet");
  CHECK(refusal("tokenize(wordpiece, 16)") == "tokenize(wordpiece, 16): tokenizer is 'wordpiece'; give bpe");
  CHECK(refusal("tokenize(bpe, 1)") ==
        "tokenize(bpe, 1): context is '1'; give a whole number from 2 to 100000");
}

TEST_CASE("a chain is refused at its place in the file, and when its order cannot work") {
  std::vector<TransformCall> calls = parse_transforms("decode | resise(4)");
  calls[1].line = 12;
  calls[1].column = 30;
  CHECK_THROWS_WITH_AS(TransformChain(calls, {}, "run.yaml"),
                       "run.yaml:12:30: no transform is called 'resise'; did you mean resize?",
                       creel::ConfigError);
  calls = parse_transforms("resize(4) | decode");
  calls[0].line = 3;
  calls[0].column = 9;
  CHECK_THROWS_WITH_AS(
      TransformChain(calls, {}, "run.yaml"),
      "run.yaml:3:9: resize works on the field 'image', which nothing has made yet; put decode before it",
      creel::ConfigError);
}

TEST_CASE("a chain is checked whole: every wrong argument, and what works on a field that nothing has made") {
  const std::vector<TransformMistake> wrong =
      check_transforms(parse_transforms("decode | resize(0) | affine(x)"));
  REQUIRE(wrong.size() == 2);
  CHECK(wrong[0].call == 1);
  CHECK(wrong[1].call == 2);
  const std::vector<TransformMistake> order =
      check_transforms(parse_transforms("normalize(0.5, 0.5) | decode"));
  REQUIRE(order.size() == 1);
  CHECK(order[0].call == 0);
  CHECK(order[0].message.find("put decode before it") != std::string::npos);
  CHECK(check_transforms(parse_transforms("decode | resize(8) | normalize(0.5, 0.5)")).empty());
}
