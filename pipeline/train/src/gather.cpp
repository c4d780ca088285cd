#include "tensor_view.hpp"

#include <creel/pipeline/train/gather.hpp>

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

namespace creel::pipeline {
namespace {

class AllGather : public torch::autograd::Function<AllGather> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            comm::Group* group) {
    context->saved_data["group"] = reinterpret_cast<std::int64_t>(group);
    const at::Tensor input = x.contiguous();
    std::vector<std::int64_t> shape = input.sizes().vec();
    shape.at(0) *= group->size();
    at::Tensor output = at::empty(shape, input.options());
    group->all_gather(buffer_view(input), buffer_view(output));
    return output;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto* group = reinterpret_cast<comm::Group*>(context->saved_data["group"].toInt());
    const at::Tensor gradient = gradients.at(0).contiguous();
    std::vector<std::int64_t> shape = gradient.sizes().vec();
    shape.at(0) /= group->size();
    at::Tensor mine = at::empty(shape, gradient.options());
    group->reduce_scatter(buffer_view(gradient), buffer_view(mine), comm::ReduceOp::Sum);
    return {mine, at::Tensor()};
  }
};

}  // namespace

at::Tensor all_gather_with_gradient(const at::Tensor& x, comm::Group& group) {
  if (group.size() == 1) return x;
  return AllGather::apply(x, &group);
}

}  // namespace creel::pipeline
