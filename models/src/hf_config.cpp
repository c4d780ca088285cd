#include <creel/models/hf_config.hpp>
#include <creel/runtime/error.hpp>

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>

namespace creel::models {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

/// A JSON object of a file with typed look-ups whose errors name file and key.
class JsonObject {
 public:
  JsonObject(std::string place, json value) : place_(std::move(place)), value_(std::move(value)) {
    if (!value_.is_object()) throw Error(place_ + ": not a JSON object", ErrorCode::Config);
  }

  template <typename T>
  T get(const char* key, T otherwise) const {
    const auto found = value_.find(key);
    if (found == value_.end() || found->is_null()) return otherwise;
    try {
      return found->get<T>();
    } catch (const json::exception& error) {
      refuse(key, "wrong type: " + found->dump());
    }
  }

  JsonObject object(const char* key) const {
    const auto found = value_.find(key);
    return JsonObject(place_ + ": " + key,
                      found == value_.end() || found->is_null() ? json::object() : *found);
  }

  std::int64_t size(const char* key, std::int64_t otherwise) const {
    const auto number = get<std::int64_t>(key, otherwise);
    if (number < 1) refuse(key, std::to_string(number) + " is not positive");
    return number;
  }

  [[noreturn]] void refuse(const char* key, const std::string& why) const {
    throw Error(place_ + ": " + key + ": " + why, ErrorCode::Config);
  }

  const json& value() const { return value_; }

 private:
  std::string place_;
  json value_;
};

JsonObject read_object(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string() + ": cannot be read (is it there?)", ErrorCode::Missing);
  try {
    return JsonObject(path.string(), json::parse(file));
  } catch (const json::exception& error) {
    throw Error(path.string() + ": " + error.what(), ErrorCode::Config);
  }
}

ordered_json tower(const char* type, std::int64_t width, std::int64_t mlp, std::int64_t layers,
                   std::int64_t heads, const ClipSpec& clip) {
  return {{"model_type", type},
          {"hidden_size", width},
          {"intermediate_size", mlp ? mlp : 4 * width},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"hidden_act", clip.activation},
          {"layer_norm_eps", 1e-5},
          {"attention_dropout", 0.0},
          {"projection_dim", clip.embed},
          {"initializer_range", 0.02},
          {"initializer_factor", 1.0}};
}

ordered_json to_json(const ClipSpec& clip) {
  const ClipTextSpec& text = clip.text;
  const ClipImageSpec& image = clip.image;
  ordered_json text_config = tower("clip_text_model", text.width, text.mlp, text.layers, text.heads, clip);
  text_config.update({{"vocab_size", text.vocabulary},
                      {"max_position_embeddings", text.context},
                      {"bos_token_id", text.bos},
                      {"eos_token_id", text.eos},
                      {"pad_token_id", text.eos}});
  ordered_json vision_config =
      tower("clip_vision_model", image.width, image.mlp, image.layers, image.heads, clip);
  vision_config.update(
      {{"image_size", image.size}, {"patch_size", image.patch}, {"num_channels", image.channels}});
  return {{"architectures", {"CLIPModel"}},
          {"model_type", "clip"},
          {"projection_dim", clip.embed},
          {"logit_scale_init_value", std::log(1.0 / clip.temperature)},
          {"initializer_factor", 1.0},
          {"dtype", "float32"},
          {"text_config", std::move(text_config)},
          {"vision_config", std::move(vision_config)}};
}

/// What the house's towers compute is fixed here; a config that asks for something else must not load
/// silently.
void check_tower(const JsonObject& config, const std::string& activation) {
  if (config.get<double>("layer_norm_eps", 1e-5) != 1e-5)
    config.refuse("layer_norm_eps", "only 1e-5 is supported");
  if (config.get<double>("attention_dropout", 0.0) != 0.0)
    config.refuse("attention_dropout", "only 0 is supported");
  if (config.get<std::string>("hidden_act", "quick_gelu") != activation) {
    config.refuse("hidden_act", "differs between the towers");
  }
}

ClipSpec read_clip(const JsonObject& config) {
  const JsonObject text = config.object("text_config");
  const JsonObject image = config.object("vision_config");
  ClipSpec clip;
  clip.embed = config.size("projection_dim", clip.embed);
  clip.temperature = std::exp(-config.get<double>("logit_scale_init_value", 2.6592));
  clip.activation = text.get<std::string>("hidden_act", "quick_gelu");
  check_tower(text, clip.activation);
  check_tower(image, clip.activation);

  clip.text.vocabulary = text.size("vocab_size", 49408);
  clip.text.context = text.size("max_position_embeddings", 77);
  clip.text.width = text.size("hidden_size", 512);
  clip.text.layers = text.size("num_hidden_layers", 12);
  clip.text.heads = text.size("num_attention_heads", 8);
  clip.text.mlp = text.size("intermediate_size", 2048);
  clip.text.bos = text.get<std::int64_t>("bos_token_id", 49406);
  clip.text.eos = text.get<std::int64_t>("eos_token_id", 49407);

  clip.image.size = image.size("image_size", 224);
  clip.image.patch = image.size("patch_size", 32);
  clip.image.channels = image.size("num_channels", 3);
  clip.image.width = image.size("hidden_size", 768);
  clip.image.layers = image.size("num_hidden_layers", 12);
  clip.image.heads = image.size("num_attention_heads", 12);
  clip.image.mlp = image.size("intermediate_size", 3072);
  return clip;
}

std::array<double, 3> channels(const JsonObject& config, const char* key,
                               const std::array<double, 3>& otherwise) {
  const auto values = config.get<std::vector<double>>(key, {otherwise.begin(), otherwise.end()});
  if (values.size() != 3) config.refuse(key, "needs three numbers");
  return {values[0], values[1], values[2]};
}

}  // namespace

std::string to_hf_config(const ModelSpec& spec) {
  return std::visit([](const auto& options) { return to_json(options); }, spec.options).dump(2) + "\n";
}

ModelSpec read_hf_config(const std::filesystem::path& config_json) {
  const JsonObject config = read_object(config_json);
  const auto type = config.get<std::string>("model_type", "");
  if (type == "clip") return {"clip", read_clip(config)};
  config.refuse("model_type", "'" + type + "' is not supported; use clip");
}

std::string to_hf_preprocessor(const ImageProcessorSpec& spec) {
  const ordered_json processor = {{"image_processor_type", "CLIPImageProcessor"},
                                  {"do_convert_rgb", true},
                                  {"do_resize", true},
                                  {"size", {{"shortest_edge", spec.size}}},
                                  {"resample", 3},  // PIL's number for bicubic
                                  {"do_center_crop", true},
                                  {"crop_size", {{"height", spec.size}, {"width", spec.size}}},
                                  {"do_rescale", true},
                                  {"rescale_factor", 1.0 / 255.0},
                                  {"do_normalize", true},
                                  {"image_mean", spec.mean},
                                  {"image_std", spec.std}};
  return processor.dump(2) + "\n";
}

ImageProcessorSpec read_hf_preprocessor(const std::filesystem::path& preprocessor_config_json) {
  const JsonObject config = read_object(preprocessor_config_json);
  ImageProcessorSpec spec;
  const auto crop = config.value().find("crop_size");
  // Old files give the side as a number, newer ones height and width.
  spec.size = crop != config.value().end() && crop->is_object()
                  ? config.object("crop_size").size("height", spec.size)
                  : config.size("crop_size", spec.size);
  spec.mean = channels(config, "image_mean", spec.mean);
  spec.std = channels(config, "image_std", spec.std);
  return spec;
}

}  // namespace creel::models
