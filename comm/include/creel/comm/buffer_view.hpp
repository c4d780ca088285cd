#pragma once

#include <creel/comm/dtype.hpp>

#include <cstddef>

namespace creel::comm {

/// `count` elements of `dtype` at `data`, in this process's memory; need not be aligned. Void pointer and
/// type tag on purpose: a template per element type would compile every algorithm seven times and make none
/// of them faster.
struct BufferView {
  void* data = nullptr;
  std::size_t count = 0;
  DType dtype = DType::F32;

  std::size_t bytes() const noexcept { return count * size_of(dtype); }
};

}  // namespace creel::comm
