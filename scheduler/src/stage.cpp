#include <creel/runtime/deadline.hpp>
#include <creel/runtime/log.hpp>
#include <creel/scheduler/stage.hpp>

#include <charconv>
#include <chrono>

namespace creel::scheduler {
namespace {

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Deadline::Clock::now().time_since_epoch())
      .count();
}

// Written by one thread only, so that a plain add will do; relaxed, since a reader wants a figure, not an
// order.
template <typename T>
void add(std::atomic<T>& counter, T amount) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

}  // namespace

StageWorker::StageWorker(const StageInfo& info, WorkerMeter& meter, const Hooks& hooks)
    : info_(info), meter_(meter), hooks_(hooks), idle_text_("stage " + info.name), activity_(idle_text_) {
  text_.reserve(120);
}

void StageWorker::start_clock() noexcept { meter_.busy_since.store(now_ns(), std::memory_order_relaxed); }

void StageWorker::begin(const std::string& item) {
  text_.assign(idle_text_).append(", item ").append(item);
  activity_.set(text_);
  start_clock();
}

void StageWorker::begin(std::uint64_t number) {
  char digits[20];
  const auto last = std::to_chars(digits, digits + sizeof digits, number).ptr;
  text_.assign(idle_text_).append(", item #").append(digits, last);
  activity_.set(text_);
  start_clock();
}

void StageWorker::end() noexcept {
  const std::int64_t since = meter_.busy_since.load(std::memory_order_relaxed);
  if (since == 0) return;  // an emitter has stopped the clock already
  meter_.busy_since.store(0, std::memory_order_relaxed);
  add(meter_.busy_ns, now_ns() - since);
  add(meter_.items, std::uint64_t{1});
}

void StageWorker::rest() noexcept {
  meter_.busy_since.store(0, std::memory_order_relaxed);
  activity_.set(idle_text_);
}

void StageWorker::drop(const std::string& item, const Failure& failure) {
  add(meter_.dropped, std::uint64_t{1});
  if (hooks_.item_dropped) return hooks_.item_dropped(info_, item, failure);
  log::warn("item.dropped", {{"stage", info_.name}, {"item", item}, {"why", failure.message}});
}

}  // namespace creel::scheduler
