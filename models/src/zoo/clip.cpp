// CLIP with a ViT image tower (Radford et al. 2021): two pre-norm transformers, trained so that an image and
// its caption meet in one space. Parameter names are those of Hugging Face's CLIPModel.
//
// Inputs, each optional: pixel_values [B, 3, H, W]; input_ids [B, L], L at most the context; attention_mask
// [B, L] with input_ids. Outputs: image_embeds, image_features, image_hidden from pixels; text_embeds,
// text_features, text_hidden from ids; logits_per_image [images, texts] from both; logit_scale always.

#include <creel/models/functional.hpp>
#include <creel/models/initializer.hpp>
#include <creel/models/layers/embedding.hpp>
#include <creel/models/layers/patch_embed.hpp>
#include <creel/models/layers/transformer.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/registry.hpp>
#include <creel/runtime/error.hpp>

#include <cmath>
#include <string>

namespace creel::models {

using namespace nn;

namespace {

constexpr double max_logit_scale =
    4.605170185988092;  // ln 100: the paper's bound, which keeps training stable

[[noreturn]] void refuse(const char* input, const std::string& why) {
  throw Error(std::string(input) + ": " + why, ErrorCode::Data);
}

std::string shape_text(const Tensor& tensor) {
  std::string text = "[";
  for (const std::int64_t extent : tensor.sizes())
    text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

TransformerOptions tower_options(const ClipImageSpec& image, const std::string& activation) {
  return {image.width, image.layers, image.heads, image.mlp ? image.mlp : 4 * image.width, activation};
}

TransformerOptions tower_options(const ClipTextSpec& text, const std::string& activation) {
  return {text.width, text.layers, text.heads, text.mlp ? text.mlp : 4 * text.width, activation};
}

class VisionEmbeddings : public Module {
 public:
  explicit VisionEmbeddings(const ClipImageSpec& image)
      : class_embedding(parameter("class_embedding", {image.width})),
        patch_embedding(add<PatchEmbed>("patch_embedding", image.channels, image.patch, image.width)),
        position_embedding(add<Embedding>(
            "position_embedding", (image.size / image.patch) * (image.size / image.patch) + 1, image.width)) {
  }

  /// pixels [B, C, S, S] → [B, 1 + patches, width], the class token first.
  Tensor forward(const Tensor& pixels) const {
    const Tensor patches = patch_embedding.forward(pixels);
    const Tensor first = class_embedding.expand({patches.size(0), 1, patches.size(2)});
    return cat({first, patches}, 1) + position_embedding.weight();
  }

  Tensor class_embedding;
  PatchEmbed& patch_embedding;
  Embedding& position_embedding;
};

class VisionTower : public Module {
 public:
  VisionTower(const ClipImageSpec& image, const std::string& activation)
      : embeddings(add<VisionEmbeddings>("embeddings", image)),
        pre_layrnorm(
            add<LayerNorm>("pre_layrnorm", image.width)),  // the spelling of all checkpoints there are
        encoder(add<Transformer>("encoder", tower_options(image, activation))),
        post_layernorm(add<LayerNorm>("post_layernorm", image.width)) {}

  /// The last hidden state, before post_layernorm: [B, 1 + patches, width].
  Tensor forward(const Tensor& pixels) const {
    return encoder.forward(pre_layrnorm.forward(embeddings.forward(pixels)));
  }

  /// The class token of it, normalised: [B, width].
  Tensor pool(const Tensor& hidden) const { return post_layernorm.forward(hidden.select(1, 0)); }

  VisionEmbeddings& embeddings;
  LayerNorm& pre_layrnorm;
  Transformer& encoder;
  LayerNorm& post_layernorm;
};

class TextEmbeddings : public Module {
 public:
  explicit TextEmbeddings(const ClipTextSpec& text)
      : token_embedding(add<Embedding>("token_embedding", text.vocabulary, text.width)),
        position_embedding(add<Embedding>("position_embedding", text.context, text.width)) {}

  /// ids [B, L] at positions past … past + L → [B, L, width].
  Tensor forward(const Tensor& ids, std::int64_t past) const {
    return token_embedding.forward(ids) + position_embedding.rows(past, ids.size(1));
  }

  Embedding& token_embedding;
  Embedding& position_embedding;
};

class TextTower : public Module {
 public:
  TextTower(const ClipTextSpec& text, const std::string& activation)
      : embeddings(add<TextEmbeddings>("embeddings", text)),
        encoder(add<Transformer>("encoder", tower_options(text, activation))),
        final_layer_norm(add<LayerNorm>("final_layer_norm", text.width)),
        eos_(text.eos) {}

  /// The last hidden state, normalised: [B, L, width].
  Tensor forward(const Tensor& ids, const Tensor& padding, Cache* cache) const {
    const std::int64_t past = cache ? cache->length() : 0;
    const AttentionMask mask = causal_mask(past, ids.size(1), padding);
    return final_layer_norm.forward(encoder.forward(embeddings.forward(ids, past), mask, cache));
  }

  /// The state at each row's end-of-text token: [B, width]. Checkpoints older than mid-2023 say eos = 2 in
  /// their config although the token is the highest id: Hugging Face's rule for them is the place of the
  /// highest id, else the first eos.
  Tensor pool(const Tensor& hidden, const Tensor& ids) const {
    const Tensor places = eos_ == 2 ? ids.argmax(1) : ids.eq(eos_).to(at::kInt).argmax(1);
    return gather_positions(hidden, places);
  }

  TextEmbeddings& embeddings;
  Transformer& encoder;
  LayerNorm& final_layer_norm;

 private:
  std::int64_t eos_;
};

class Clip final : public Model {
 public:
  Clip(const ModelSpec& model_spec, const ClipSpec& clip)
      : Model(model_spec),
        clip_(clip),
        logit_scale_(parameter("logit_scale", {})),
        text_model_(add<TextTower>("text_model", clip.text, clip.activation)),
        vision_model_(add<VisionTower>("vision_model", clip.image, clip.activation)),
        visual_projection_(add<Linear>("visual_projection", clip.image.width, clip.embed, /*bias=*/false)),
        text_projection_(add<Linear>("text_projection", clip.text.width, clip.embed, /*bias=*/false)) {}

  Outputs forward(const Inputs& inputs, Cache* cache) const override {
    Outputs outputs;
    const Tensor pixels = inputs.find(names::pixel_values);
    const Tensor ids = inputs.find(names::input_ids);
    if (pixels.defined()) encode_images(pixels, outputs);
    if (ids.defined()) encode_texts(ids, inputs.find(names::attention_mask), cache, outputs);
    if (pixels.defined() && ids.defined()) {
      outputs.set(
          names::logits_per_image,
          linear(outputs.at(names::image_embeds), outputs.at(names::text_embeds)) * logit_scale_.exp());
    }
    outputs.set(names::logit_scale, logit_scale_);
    return outputs;
  }

  void initialize(std::uint64_t seed) override;

  void constrain() override {
    const NoGradGuard no_grad;
    logit_scale_.clamp_(0.0, max_logit_scale);
  }

 private:
  void encode_images(const Tensor& pixels, Outputs& outputs) const {
    check_pixels(pixels);
    const Tensor hidden = vision_model_.forward(pixels);
    const Tensor features = visual_projection_.forward(vision_model_.pool(hidden));
    outputs.set(names::image_hidden, hidden);
    outputs.set(names::image_features, features);
    outputs.set(names::image_embeds, l2_normalize(features));
  }

  void encode_texts(const Tensor& ids, const Tensor& padding, Cache* cache, Outputs& outputs) const {
    check_ids(ids, padding, cache ? cache->length() : 0);
    const Tensor hidden = text_model_.forward(ids, padding, cache);
    const Tensor features = text_projection_.forward(text_model_.pool(hidden, ids));
    outputs.set(names::text_hidden, hidden);
    outputs.set(names::text_features, features);
    outputs.set(names::text_embeds, l2_normalize(features));
  }

  void check_pixels(const Tensor& pixels) const {
    const ClipImageSpec& image = clip_.image;
    if (pixels.scalar_type() != at::kFloat) refuse(names::pixel_values, "type is not float32");
    if (pixels.dim() != 4 || pixels.size(1) != image.channels || pixels.size(2) != image.size ||
        pixels.size(3) != image.size) {
      const std::string side = std::to_string(image.size);
      refuse(names::pixel_values, "shape " + shape_text(pixels) + "; expected [batch, " +
                                      std::to_string(image.channels) + ", " + side + ", " + side + "]");
    }
  }

  void check_ids(const Tensor& ids, const Tensor& padding, std::int64_t past) const {
    const ClipTextSpec& text = clip_.text;
    if (ids.scalar_type() != at::kLong) refuse(names::input_ids, "type is not int64");
    if (ids.dim() != 2 || ids.size(1) < 1 || past + ids.size(1) > text.context) {
      refuse(names::input_ids, "shape " + shape_text(ids) +
                                   (past ? " after " + std::to_string(past) + " tokens" : "") +
                                   "; expected [batch, 1 to " + std::to_string(text.context - past) + "]");
    }
    if (ids.numel() > 0) {
      const auto lowest = ids.min().item<std::int64_t>();
      const auto highest = ids.max().item<std::int64_t>();
      if (lowest < 0 || highest >= text.vocabulary) {
        refuse(names::input_ids, "id " + std::to_string(lowest < 0 ? lowest : highest) +
                                     " is outside the vocabulary of " + std::to_string(text.vocabulary));
      }
    }
    if (padding.defined() &&
        (padding.dim() != 2 || padding.size(0) != ids.size(0) || padding.size(1) != past + ids.size(1))) {
      refuse(names::attention_mask, "shape " + shape_text(padding) + "; expected [" +
                                        std::to_string(ids.size(0)) + ", " +
                                        std::to_string(past + ids.size(1)) + "]");
    }
  }

  ClipSpec clip_;
  Tensor logit_scale_;
  TextTower& text_model_;
  VisionTower& vision_model_;
  Linear& visual_projection_;
  Linear& text_projection_;
};

double inverse_root(std::int64_t n) { return 1.0 / std::sqrt(static_cast<double>(n)); }

/// Deviations that keep the residual stream's variance independent of depth (Radford et al. 2019,
/// section 2.3, as CLIP's reference applies it). Biases start at 0, norms at the identity.
void initialize_blocks(Initializer& init, const Transformer& tower, std::int64_t width) {
  const double by_depth = inverse_root(2 * static_cast<std::int64_t>(tower.size()));
  for (std::size_t i = 0; i < tower.size(); ++i) {
    const Attention& attention = tower[i].attention();
    for (const Linear* projection : {&attention.q_proj(), &attention.k_proj(), &attention.v_proj()}) {
      init.normal(projection->weight(), inverse_root(width) * by_depth);
    }
    init.normal(attention.out_proj().weight(), inverse_root(width));
    init.normal(tower[i].mlp().fc1().weight(), inverse_root(2 * width));
    init.normal(tower[i].mlp().fc2().weight(), inverse_root(width) * by_depth);
  }
}

void Clip::initialize(std::uint64_t seed) {
  constexpr double embedding_deviation = 0.02;
  Initializer init(seed);
  init.normal(text_model_.embeddings.token_embedding.weight(), embedding_deviation);
  init.normal(text_model_.embeddings.position_embedding.weight(), embedding_deviation);
  initialize_blocks(init, text_model_.encoder, clip_.text.width);
  init.normal(vision_model_.embeddings.class_embedding, inverse_root(clip_.image.width));
  init.normal(vision_model_.embeddings.patch_embedding.weight(), embedding_deviation);
  init.normal(vision_model_.embeddings.position_embedding.weight(), embedding_deviation);
  initialize_blocks(init, vision_model_.encoder, clip_.image.width);
  init.normal(visual_projection_.weight(), inverse_root(clip_.image.width));
  init.normal(text_projection_.weight(), inverse_root(clip_.text.width));
  Initializer::constant(logit_scale_, std::log(1.0 / clip_.temperature));
}

const ClipSpec& checked(const ModelSpec& spec) {
  const auto& clip = std::get<ClipSpec>(spec.options);
  if (clip.image.patch < 1 || clip.image.size % clip.image.patch != 0) {
    throw Error("patch " + std::to_string(clip.image.patch) + " does not divide size " +
                    std::to_string(clip.image.size),
                ErrorCode::Config);
  }
  return clip;
}

}  // namespace

void register_clip(Registry& registry);
void register_clip(Registry& registry) {
  registry.add("clip", [](const ModelSpec& spec) { return std::make_unique<Clip>(spec, checked(spec)); });
}

}  // namespace creel::models
