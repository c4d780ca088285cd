#include "own_stack.hpp"

#include "native_thread.hpp"
#include "thread_record.hpp"

#include <sys/uio.h>
#include <unistd.h>

namespace creel::detail {
namespace {

constexpr std::size_t kMostCopied = 256 * 1024;

}  // namespace

OwnStack::OwnStack(std::uintptr_t rsp) {
  const auto within = [rsp](std::uintptr_t low, std::uintptr_t high) { return rsp >= low && rsp < high; };
  const ThreadRecord* record = current_record_or_null();
  const StackBounds bounds =
      record != nullptr ? StackBounds{record->stack_low, record->stack_high} : current_stack_bounds();
  if (within(bounds.low, bounds.high)) {
    copy_ = {rsp, reinterpret_cast<const std::byte*>(rsp), bounds.high - rsp};
    return;
  }
  bytes_.resize(kMostCopied);
  const iovec to{bytes_.data(), bytes_.size()};
  const iovec from{reinterpret_cast<void*>(rsp), bytes_.size()};
  const ssize_t copied = ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0);
  copy_ = {rsp, bytes_.data(), copied > 0 ? static_cast<std::size_t>(copied) : 0};
}

}  // namespace creel::detail
