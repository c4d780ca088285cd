#pragma once

#include <creel/models/tensor_map.hpp>

#include <concepts>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace creel::nn {

/// A part of a model: owns its parameters, buffers and child modules, each under a name. The dotted path of
/// names is the parameter's name in a checkpoint, so a module's structure *is* its file format. Not copyable,
/// not movable: children are referred to by reference.
///
///     class Mlp : public nn::Module {
///      public:
///       Mlp(std::int64_t width, std::int64_t hidden)
///           : fc1_(add<nn::Linear>("fc1", width, hidden)), fc2_(add<nn::Linear>("fc2", hidden, width)) {}
///       nn::Tensor forward(const nn::Tensor& x) const { return fc2_.forward(nn::gelu(fc1_.forward(x))); }
///      private:
///       nn::Linear& fc1_;
///       nn::Linear& fc2_;
///     };
///
/// Building and loading are for one thread; afterwards const members may be called from several.
class Module {
 public:
  struct Child {
    std::string name;
    std::unique_ptr<Module> module;
  };

  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module();

  /// Parameters of this module and all below it, by dotted name, in the order of construction (own ones
  /// first).
  TensorMap named_parameters() const;

  /// Buffers likewise. One that is not persistent is recomputed from the configuration and in no checkpoint.
  TensorMap named_buffers(bool persistent_only = false) const;

  /// Parameters and persistent buffers: what a checkpoint holds.
  TensorMap state() const;

  const std::vector<Child>& children() const noexcept { return children_; }

  /// Training mode of this module and all below it; new modules are in it.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const noexcept { return training_; }

  /// Drops all gradients; the next backward makes new ones.
  void zero_grad();

  /// Total number of elements of all parameters.
  std::int64_t parameter_count() const;

 protected:
  /// Makes a float32 parameter of zeros. The returned handle shares its memory with the registered one.
  Tensor parameter(std::string name, at::IntArrayRef shape);

  Tensor buffer(std::string name, Tensor value, bool persistent = true);

  template <std::derived_from<Module> M, typename... Arguments>
  M& add(std::string name, Arguments&&... arguments) {
    auto made = std::make_unique<M>(std::forward<Arguments>(arguments)...);
    M& child = *made;
    adopt(std::move(name), std::move(made));
    return child;
  }

 private:
  struct Buffer {
    NamedTensor named;
    bool persistent;
  };

  void adopt(std::string name, std::unique_ptr<Module> child);
  void check_new(const std::string& name) const;
  void collect_parameters(const std::string& prefix, TensorMap& out) const;
  void collect_buffers(const std::string& prefix, bool persistent_only, TensorMap& out) const;

  std::vector<NamedTensor> parameters_;
  std::vector<Buffer> buffers_;
  std::vector<Child> children_;
  bool training_ = true;
};

/// A list of modules of one type, named "0", "1", …
template <std::derived_from<Module> M>
class ModuleList : public Module {
 public:
  template <typename... Arguments>
  M& append(Arguments&&... arguments) {
    M& made = add<M>(std::to_string(items_.size()), std::forward<Arguments>(arguments)...);
    items_.push_back(&made);
    return made;
  }

  std::size_t size() const noexcept { return items_.size(); }
  M& operator[](std::size_t index) const { return *items_[index]; }

 private:
  std::vector<M*> items_;
};

}  // namespace creel::nn
