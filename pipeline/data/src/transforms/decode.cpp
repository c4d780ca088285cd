#include <creel/pipeline/data/png.hpp>
#include <creel/pipeline/data/transform_registry.hpp>

#include <charconv>
#include <cstring>

namespace creel::pipeline {
namespace {

std::string_view text_of(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// Files to values: png → image u8 [H, W, 3], txt → caption (text without blanks around it), cls → label i64
/// []. Other files stay as they are.
class Decode final : public Transform {
 public:
  std::string_view needs() const noexcept override { return ""; }
  std::string_view makes() const noexcept override { return "image caption label"; }

  std::optional<Failure> apply(Sample& sample, RandomStream&, Scratch&) const override {
    if (std::optional<Failure> failure = image(sample)) return failure;
    if (const Bytes* file = sample.get<Bytes>("txt")) {
      std::string caption(trimmed(text_of(*file)));
      sample.remove("txt");
      sample.set("caption", std::move(caption));
    }
    return label(sample);
  }

 private:
  static std::optional<Failure> image(Sample& sample) {
    const Bytes* const file = sample.get<Bytes>("png");
    if (file == nullptr) return unreadable(sample);
    Result<HostTensor> image = decode_png(*file);
    if (!image) return image.failure();
    sample.remove("png");
    sample.set("image", *std::move(image));
    return std::nullopt;
  }

  // A sample without an image is fine (text only); one with an image of another kind is not.
  static std::optional<Failure> unreadable(const Sample& sample) {
    for (const std::string_view kind : {"jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "ppm"}) {
      if (sample.find(kind) == nullptr) continue;
      return Failure{ErrorCode::Data, "the image is a ." + std::string(kind) + "; this build reads .png"};
    }
    return std::nullopt;
  }

  static std::optional<Failure> label(Sample& sample) {
    const Bytes* const file = sample.get<Bytes>("cls");
    if (file == nullptr) return std::nullopt;
    const std::string_view text = trimmed(text_of(*file));
    HostTensor label(ElementType::I64, {});
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), label.values<std::int64_t>()[0]);
    if (error != std::errc() || end != text.data() + text.size()) {
      return Failure{ErrorCode::Data,
                     ".cls holds '" + std::string(text.substr(0, 40)) + "', not a whole number"};
    }
    sample.remove("cls");
    sample.set("label", std::move(label));
    return std::nullopt;
  }
};

}  // namespace

void register_decode(TransformRegistry& registry);
void register_decode(TransformRegistry& registry) {
  registry.add("decode", [](ArgumentReader&) { return std::make_unique<Decode>(); });
}

}  // namespace creel::pipeline
