#pragma once

#include <creel/comm/group.hpp>
#include <creel/models/tensor_map.hpp>

#include <cstddef>
#include <memory>

namespace creel::pipeline {

/// Averages the gradients of replicated parameters over the ranks while the backward pass still runs.
///
/// Parameters are packed into buckets in reverse order, which is about the order in which their gradients
/// come. The hook of a bucket's last gradient all-reduces the whole bucket, inside backward(): every rank
/// must therefore run the same graph. A parameter of a bucket's size or more is reduced in place, without a
/// copy. Source of the bucketing: Li et al. 2020, "PyTorch Distributed", section 3.2.
class DataParallel {
 public:
  /// Registers the hooks; they go with this object. Parameters start as rank 0's: they are broadcast here.
  DataParallel(const nn::TensorMap& parameters, comm::Group& group, std::size_t bucket_bytes = 4u << 20);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  /// To be called after backward(): throws Error naming the parameters that got no gradient, whose buckets
  /// the other ranks may be waiting for.
  void finish();

  std::size_t buckets() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace creel::pipeline
