#include <creel/models/execution.hpp>
#include <creel/runtime/error.hpp>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <mutex>
#include <string>

namespace creel::nn {

void set_intra_op_threads(int n) {
  if (n < 1) throw Error("intra-op threads: " + std::to_string(n) + "; give at least 1", ErrorCode::Config);
  at::set_num_threads(n);
}

int intra_op_threads() { return at::get_num_threads(); }

void manual_seed(std::uint64_t seed) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(seed);
}

std::vector<std::byte> rng_state() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  const at::Tensor state = generator.get_state();
  std::vector<std::byte> bytes(static_cast<std::size_t>(state.numel()));
  std::memcpy(bytes.data(), state.const_data_ptr(), bytes.size());
  return bytes;
}

void set_rng_state(std::span<const std::byte> state) {
  const at::Tensor tensor = at::empty({static_cast<std::int64_t>(state.size())}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr(), state.data(), state.size());
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  try {
    generator.set_state(tensor);
  } catch (const c10::Error& error) {
    throw Error("not a random generator's state (" + std::to_string(state.size()) +
                    " bytes): " + error.what_without_backtrace(),
                ErrorCode::Data);
  }
}

}  // namespace creel::nn
