#include <creel/models/functional.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/objectives/softmax_contrastive.hpp>
#include <creel/models/outputs.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/tensor_match.hpp>
#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace creel::models;
using creel::nn::Tensor;
using creel::nn::TensorMap;
using creel_test::Golden;
using creel_test::mismatch;

namespace {

void check(const std::string& what, const Tensor& actual, const Tensor& expected) {
  const std::string wrong = mismatch(actual, expected);
  CHECK_MESSAGE(wrong.empty(), what << ": " << wrong);
}

Tensor leaf(const Tensor& value) { return value.detach().clone().requires_grad_(); }

}  // namespace

TEST_CASE("the contrastive loss of one rank is open_clip's") {
  const Golden golden("loss-clip-w1");
  const TensorMap inputs = golden.load("inputs");
  const TensorMap expected = golden.load("outputs");
  const Tensor image = leaf(inputs.at("image_features"));
  const Tensor text = leaf(inputs.at("text_features"));
  const Tensor scale = leaf(inputs.at("logit_scale"));
  const Tensor loss =
      ObjectiveRegistry::builtin()
          .create("softmax_contrastive")
          ->loss({{names::image_embeds, image}, {names::text_embeds, text}, {names::logit_scale, scale}}, {});
  loss.backward();
  check("loss", loss, expected.at("rank0.loss"));
  check("image", image.grad(), expected.at("rank0.grad_image"));
  check("text", text.grad(), expected.at("rank0.grad_text"));
  check("scale", scale.grad(), expected.at("rank0.grad_logit_scale"));
}

TEST_CASE("two ranks' losses and gradients are open_clip's with gathered gradients") {
  const Golden golden("loss-clip-w2");
  const TensorMap inputs = golden.load("inputs");
  const TensorMap expected = golden.load("outputs");
  std::vector<Tensor> image, text, scale;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    image.push_back(leaf(inputs.at("image_features").narrow(0, rank * 5, 5)));
    text.push_back(leaf(inputs.at("text_features").narrow(0, rank * 5, 5)));
    scale.push_back(leaf(inputs.at("logit_scale")));
  }
  // Autograd over both ranks at once: each rank's rows get the sum of both losses' gradients, as the gather's
  // backward gives.
  const Tensor all_image = creel::nn::cat(image, 0);
  const Tensor all_text = creel::nn::cat(text, 0);
  std::vector<Tensor> losses;
  for (std::size_t rank = 0; rank < 2; ++rank) {
    losses.push_back(softmax_contrastive(image[rank], text[rank], all_image, all_text, scale[rank],
                                         static_cast<int>(rank)));
  }
  losses[0].add(losses[1]).backward();
  for (std::size_t rank = 0; rank < 2; ++rank) {
    const std::string prefix = "rank" + std::to_string(rank) + ".";
    check(prefix + "loss", losses[rank], expected.at(prefix + "loss"));
    check(prefix + "image", image[rank].grad(), expected.at(prefix + "grad_image"));
    check(prefix + "text", text[rank].grad(), expected.at(prefix + "grad_text"));
    check(prefix + "scale", scale[rank].grad(), expected.at(prefix + "grad_logit_scale"));
  }
}

TEST_CASE("the mean of the ranks' losses is the loss of the whole batch") {
  const TensorMap inputs = Golden("loss-clip-w2").load("inputs");
  const Tensor image = inputs.at("image_features");
  const Tensor text = inputs.at("text_features");
  const Tensor scale = inputs.at("logit_scale");
  const double whole = softmax_contrastive(image, text, image, text, scale, 0).item<double>();
  double sum = 0;
  for (std::int64_t rank = 0; rank < 2; ++rank) {
    sum += softmax_contrastive(image.narrow(0, rank * 5, 5), text.narrow(0, rank * 5, 5), image, text, scale,
                               rank)
               .item<double>();
  }
  CHECK(sum / 2 == doctest::Approx(whole).epsilon(1e-6));
}

TEST_CASE("rows that do not fit together are refused") {
  const Tensor five = creel::nn::ones({5, 4});
  const Tensor six = creel::nn::ones({6, 4});
  const Tensor scale = creel::nn::zeros({});
  CHECK_THROWS_WITH_AS(softmax_contrastive(five, six, five, six, scale, 0),
                       doctest::Contains("5 image and 6 text rows"), creel::Error);
  CHECK_THROWS_AS(softmax_contrastive(five, five, five, five, scale, 1), creel::Error);
}

TEST_CASE("an unknown objective is named with its nearest") {
  CHECK_THROWS_WITH_AS(ObjectiveRegistry::builtin().create("softmax_contrastiv"),
                       doctest::Contains("did you mean 'softmax_contrastive'?"), creel::Error);
}
