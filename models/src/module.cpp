#include <creel/models/functional.hpp>
#include <creel/models/module.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>

namespace creel::nn {

Module::~Module() = default;

TensorMap Module::named_parameters() const {
  TensorMap out;
  collect_parameters("", out);
  return out;
}

TensorMap Module::named_buffers(bool persistent_only) const {
  TensorMap out;
  collect_buffers("", persistent_only, out);
  return out;
}

TensorMap Module::state() const {
  TensorMap out = named_parameters();
  collect_buffers("", /*persistent_only=*/true, out);
  return out;
}

void Module::train(bool on) {
  training_ = on;
  for (const Child& child : children_) child.module->train(on);
}

void Module::zero_grad() {
  for (NamedTensor& parameter : parameters_) parameter.tensor.mutable_grad().reset();
  for (const Child& child : children_) child.module->zero_grad();
}

std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : named_parameters()) count += parameter.tensor.numel();
  return count;
}

Tensor Module::parameter(std::string name, at::IntArrayRef shape) {
  check_new(name);
  Tensor made = zeros(shape).requires_grad_();
  parameters_.push_back({std::move(name), made});
  return made;
}

Tensor Module::buffer(std::string name, Tensor value, bool persistent) {
  check_new(name);
  buffers_.push_back({{std::move(name), value}, persistent});
  return value;
}

void Module::adopt(std::string name, std::unique_ptr<Module> child) {
  check_new(name);
  children_.push_back({std::move(name), std::move(child)});
}

void Module::check_new(const std::string& name) const {
  const auto taken = [&name](const auto& entry) { return entry.name == name; };
  if (name.empty() || name.find('.') != std::string::npos) {
    throw Error("a module's part cannot be named '" + name + "'; a name is not empty and has no dot");
  }
  if (std::any_of(parameters_.begin(), parameters_.end(), taken) ||
      std::any_of(children_.begin(), children_.end(), taken) ||
      std::any_of(buffers_.begin(), buffers_.end(),
                  [&](const Buffer& buffer) { return taken(buffer.named); })) {
    throw Error("a module has two parts named '" + name + "'");
  }
}

void Module::collect_parameters(const std::string& prefix, TensorMap& out) const {
  for (const NamedTensor& parameter : parameters_) out.set(prefix + parameter.name, parameter.tensor);
  for (const Child& child : children_) child.module->collect_parameters(prefix + child.name + ".", out);
}

void Module::collect_buffers(const std::string& prefix, bool persistent_only, TensorMap& out) const {
  for (const Buffer& buffer : buffers_) {
    if (buffer.persistent || !persistent_only) out.set(prefix + buffer.named.name, buffer.named.tensor);
  }
  for (const Child& child : children_)
    child.module->collect_buffers(prefix + child.name + ".", persistent_only, out);
}

}  // namespace creel::nn
