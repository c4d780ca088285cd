#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace creel::models {

/// One rank's rows of the symmetric InfoNCE loss over the global batch. image, text [B, D] are this rank's
/// unit vectors, all_image, all_text [B·R, D] those of all ranks in rank order (this rank's rows among them,
/// so gather them with gradients), logit_scale the scalar natural logarithm. Row i of rank r matches column
/// r·B + i.
///
/// Returns the mean over the B own rows of (CE(image → all texts) + CE(text → all images)) / 2, computed in
/// float32. The mean over ranks is the loss of the whole batch on one rank; averaging the ranks' weight
/// gradients gives its gradient, if the gather's backward sums over ranks. Throws Error of code Data if the
/// shapes do not fit. Source: Radford et al. 2021, figure 3.
at::Tensor softmax_contrastive(const at::Tensor& image, const at::Tensor& text, const at::Tensor& all_image,
                               const at::Tensor& all_text, const at::Tensor& logit_scale, std::int64_t rank);

}  // namespace creel::models
