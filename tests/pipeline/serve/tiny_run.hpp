#pragma once

#include <creel/models/pretrained.hpp>
#include <creel/models/registry.hpp>
#include <creel/models/tokenizer.hpp>
#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/config/transform_spec.hpp>

#include <creel_test/temporary_folder.hpp>
#include <png.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace creel_test {

inline creel::pipeline::RunConfig tiny_config() {
  using namespace creel::pipeline;
  creel::models::ClipSpec clip;
  clip.image = {.size = 16, .patch = 8, .width = 16, .layers = 1, .heads = 2};
  clip.text.context = 8;
  clip.text.width = 8;
  clip.text.layers = 1;
  clip.text.heads = 2;
  clip.embed = 12;
  RunConfig config;
  config.name = "tiny";
  config.data.train = {"tar_shards", "/nowhere/train-00000.tar"};
  config.model = {"clip", clip};
  config.eval_transforms = parse_transforms("decode | resize(16) | normalize(0.5, 0.5) | tokenize(bpe, 8)");
  config.train_transforms = config.eval_transforms;
  config.evaluate = {.classes = {"zero", "one", "two"}, .prompts = {"the digit {}", "a {}"}};
  return config;
}

/// A run folder as a finished run leaves it, its model of random weights.
class TinyRun {
 public:
  explicit TinyRun(const creel::pipeline::RunConfig& config = tiny_config())
      : tokenizer(creel::models::load_clip_merges(creel::models::default_bpe_vocabulary())),
        model(creel::models::Registry::builtin().create(config.model)) {
    model->initialize(3);
    creel::models::save_pretrained(*model, path());
    tokenizer->save(path(), 8);
    std::ofstream(path() / "config.yaml") << to_yaml(config);
  }

  const std::filesystem::path& path() const { return folder_.path(); }

  const std::unique_ptr<creel::models::Tokenizer> tokenizer;
  const std::unique_ptr<creel::models::Model> model;

 private:
  TemporaryFolder folder_;
};

/// The bytes of a grey PNG of side x side pixels, a pattern that `seed` changes.
inline std::string make_png(std::uint32_t side, unsigned seed) {
  std::vector<std::uint8_t> pixels(side * side);
  for (std::size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<std::uint8_t>((i * 37 + i * i * seed) % 256);
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = side;
  image.height = side;
  image.format = PNG_FORMAT_GRAY;
  png_alloc_size_t size = 0;
  if (!png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr))
    throw std::runtime_error("png");
  std::string bytes(size, '\0');
  if (!png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr)) {
    throw std::runtime_error("png");
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace creel_test
