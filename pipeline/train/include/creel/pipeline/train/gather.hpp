#pragma once

#include <creel/comm/group.hpp>

#include <ATen/core/Tensor.h>

namespace creel::pipeline {

/// The rows of every rank, in rank order, with gradients: x [B, …] of each of R ranks → [R B, …].
///
/// The backward pass reduce-scatters: rank r gets the sum over all ranks of what their losses say of r's
/// rows. With the ranks' losses averaged and the weight gradients too, each rank's gradient is that of the
/// global batch's mean loss. Every rank must call it, forward and backward, in the same order. A group of one
/// returns x itself. `group` must outlive the graph. Throws CommError.
at::Tensor all_gather_with_gradient(const at::Tensor& x, comm::Group& group);

}  // namespace creel::pipeline
