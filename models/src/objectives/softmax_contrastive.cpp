#include <creel/models/functional.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/objectives/softmax_contrastive.hpp>
#include <creel/models/outputs.hpp>
#include <creel/runtime/error.hpp>

#include <memory>
#include <string>

namespace creel::models {

using namespace nn;

at::Tensor softmax_contrastive(const at::Tensor& image, const at::Tensor& text, const at::Tensor& all_image,
                               const at::Tensor& all_text, const at::Tensor& logit_scale, std::int64_t rank) {
  const std::int64_t rows = image.size(0);
  if (image.sizes() != text.sizes() || all_image.sizes() != all_text.sizes() ||
      all_image.size(1) != image.size(1) || all_image.size(0) < (rank + 1) * rows) {
    throw Error("softmax_contrastive: " + std::to_string(rows) + " image and " +
                    std::to_string(text.size(0)) + " text rows of rank " + std::to_string(rank) +
                    " against " + std::to_string(all_image.size(0)) + " images and " +
                    std::to_string(all_text.size(0)) + " texts of all ranks",
                ErrorCode::Data);
  }
  const Tensor scale = logit_scale.to(at::kFloat).exp();
  const Tensor target = arange(rows, image).add(rank * rows);
  const Tensor image_logits = scale * linear(image.to(at::kFloat), all_text.to(at::kFloat));
  const Tensor text_logits = scale * linear(text.to(at::kFloat), all_image.to(at::kFloat));
  return (cross_entropy(image_logits, target) + cross_entropy(text_logits, target)) * 0.5;
}

namespace {

class SoftmaxContrastive final : public Objective {
 public:
  at::Tensor loss(const Outputs& outputs, const Peers& peers) override {
    const Tensor& image = outputs.at(names::image_embeds);
    const Tensor& text = outputs.at(names::text_embeds);
    return softmax_contrastive(image, text, peers.all_gather(image), peers.all_gather(text),
                               outputs.at(names::logit_scale), peers.rank);
  }
};

}  // namespace

void register_softmax_contrastive(ObjectiveRegistry& registry);
void register_softmax_contrastive(ObjectiveRegistry& registry) {
  registry.add("softmax_contrastive", [] { return std::make_unique<SoftmaxContrastive>(); });
}

}  // namespace creel::models
