#include "tensor_view.hpp"

#include <creel/pipeline/train/data_parallel.hpp>
#include <creel/runtime/error.hpp>

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace creel::pipeline {

struct DataParallel::State {
  struct Bucket {
    std::vector<std::size_t> parameters;  // indices, in the order they lie in `flat`
    at::Tensor flat;                      // undefined: one parameter, reduced in place
    std::size_t missing = 0;              // gradients still to come in this backward pass
    std::string label;
  };

  comm::Group* group = nullptr;
  std::vector<nn::NamedTensor> parameters;
  std::vector<std::size_t> bucket_of;
  std::vector<bool> ready;
  std::vector<Bucket> buckets;

  void gradient_ready(std::size_t parameter);
  void reduce(Bucket& bucket);
};

namespace {

/// Tells the state that a parameter's gradient has been accumulated. Holds the state weakly: a parameter may
/// outlive it.
class GradientHook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit GradientHook(std::function<void()> ready) : ready_(std::move(ready)) {}
  void operator()(const torch::autograd::Variable& /*parameter*/) override { ready_(); }

 private:
  std::function<void()> ready_;
};

std::size_t bytes_of(const at::Tensor& tensor) {
  return static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
}

}  // namespace

void DataParallel::State::gradient_ready(std::size_t parameter) {
  if (ready[parameter]) {
    throw Error(
        "the gradient of " + parameters[parameter].name +
        " came twice in one backward pass; accumulate over several passes with one DataParallel each");
  }
  ready[parameter] = true;
  Bucket& bucket = buckets[bucket_of[parameter]];
  if (--bucket.missing == 0) reduce(bucket);
}

void DataParallel::State::reduce(Bucket& bucket) {
  if (!bucket.flat.defined()) {
    at::Tensor& gradient = parameters[bucket.parameters.front()].tensor.mutable_grad();
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
    group->all_reduce(buffer_view(gradient), comm::ReduceOp::Average, bucket.label);
    return;
  }
  auto* flat = static_cast<std::byte*>(bucket.flat.data_ptr());
  std::size_t offset = 0;
  for (const std::size_t index : bucket.parameters) {
    const at::Tensor gradient = parameters[index].tensor.grad().contiguous();
    std::memcpy(flat + offset, gradient.const_data_ptr(), bytes_of(gradient));
    offset += bytes_of(gradient);
  }
  group->all_reduce(buffer_view(bucket.flat), comm::ReduceOp::Average, bucket.label);
  offset = 0;
  for (const std::size_t index : bucket.parameters) {
    at::Tensor& gradient = parameters[index].tensor.mutable_grad();
    if (!gradient.is_contiguous()) gradient = gradient.contiguous();
    std::memcpy(gradient.data_ptr(), flat + offset, bytes_of(gradient));
    offset += bytes_of(gradient);
  }
}

DataParallel::DataParallel(const nn::TensorMap& named, comm::Group& group, std::size_t bucket_bytes)
    : state_(std::make_shared<State>()) {
  State& state = *state_;
  state.group = &group;
  if (group.size() == 1) return;
  state.parameters.assign(named.begin(), named.end());
  const std::vector<nn::NamedTensor>& parameters = state.parameters;
  state.bucket_of.resize(parameters.size());
  state.ready.resize(parameters.size());

  std::size_t open_bytes = 0;
  at::ScalarType open_dtype = at::kFloat;
  bool open = false;
  for (std::size_t i = parameters.size(); i-- > 0;) {
    const at::Tensor& parameter = parameters[i].tensor;
    group.broadcast(buffer_view(parameter), 0);
    const std::size_t bytes = bytes_of(parameter);
    const bool alone = bytes >= bucket_bytes;
    if (alone || !open || open_bytes + bytes > bucket_bytes || parameter.scalar_type() != open_dtype) {
      state.buckets.emplace_back();
      open = !alone;
      open_bytes = 0;
      open_dtype = parameter.scalar_type();
    }
    state.buckets.back().parameters.push_back(i);
    state.bucket_of[i] = state.buckets.size() - 1;
    open_bytes += bytes;
  }
  for (std::size_t b = 0; b < state.buckets.size(); ++b) {
    State::Bucket& bucket = state.buckets[b];
    bucket.missing = bucket.parameters.size();
    bucket.label =
        "gradients of bucket " + std::to_string(b + 1) + "/" + std::to_string(state.buckets.size());
    if (bucket.parameters.size() == 1) continue;
    std::int64_t count = 0;
    for (const std::size_t index : bucket.parameters) count += parameters[index].tensor.numel();
    bucket.flat =
        at::empty({count}, parameters[bucket.parameters.front()].tensor.options().requires_grad(false));
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    std::weak_ptr<State> weak = state_;
    torch::autograd::impl::set_post_acc_grad_hooks(parameters[i].tensor,
                                                   std::make_unique<GradientHook>([weak, i] {
                                                     if (const std::shared_ptr<State> alive = weak.lock())
                                                       alive->gradient_ready(i);
                                                   }));
  }
}

DataParallel::~DataParallel() {
  for (const nn::NamedTensor& parameter : state_->parameters) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
  }
}

void DataParallel::finish() {
  std::string missing;
  for (std::size_t i = 0; i < state_->parameters.size(); ++i) {
    if (!state_->ready[i]) missing += (missing.empty() ? "" : ", ") + state_->parameters[i].name;
  }
  if (!missing.empty()) {
    throw Error("no gradient reached " + missing +
                " in this backward pass; freeze parameters that the loss does not use");
  }
  std::fill(state_->ready.begin(), state_->ready.end(), false);
  for (State::Bucket& bucket : state_->buckets) bucket.missing = bucket.parameters.size();
}

std::size_t DataParallel::buckets() const noexcept { return state_->buckets.size(); }

}  // namespace creel::pipeline
