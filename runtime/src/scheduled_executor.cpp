#include "scheduled_queue.hpp"

#include <creel/runtime/scheduled_executor.hpp>

#include <algorithm>

namespace creel {

void ScheduledExecutorService::check_period(std::chrono::nanoseconds period) {
  if (period.count() > 0) return;
  throw Error("a period of " + std::to_string(period.count()) + " ns; periodic work needs a positive one");
}

namespace {

ThreadPoolExecutor::Options pool_options(ScheduledThreadPoolExecutor::Options&& options,
                                         std::shared_ptr<detail::ScheduledQueue> queue) {
  return {.core_size = options.core_size,
          .maximum_size = std::max<std::size_t>(options.core_size, 1),
          .queue = std::move(queue),
          .factory = std::move(options.factory),
          .rejection = options.rejection,
          .name = std::move(options.name),
          .on_rejected = std::move(options.on_rejected)};
}

}  // namespace

ScheduledThreadPoolExecutor::ScheduledThreadPoolExecutor(Options options)
    : queue_(std::make_shared<detail::ScheduledQueue>(options.name)),
      pool_(pool_options(std::move(options), queue_)) {}

ScheduledThreadPoolExecutor::~ScheduledThreadPoolExecutor() { shutdown(); }

void ScheduledThreadPoolExecutor::add_item(detail::WorkRef<detail::FutureCore> keep,
                                           detail::ScheduledItem& item) {
  const detail::WorkRef<detail::FutureCore> added = keep;
  if (Task refused = queue_->add(std::move(keep), item)) return pool_.reject(std::move(refused));
  try {
    pool_.ensure_worker();
  } catch (...) {  // nobody would run it
    added->cancel(false);
    pool_.purge();
    throw;
  }
}

void ScheduledThreadPoolExecutor::execute(Task task) { schedule(std::move(task), Deadline::now()); }

void ScheduledThreadPoolExecutor::shutdown() {
  queue_->shut_down();
  pool_.shutdown();
}

std::vector<Task> ScheduledThreadPoolExecutor::shutdown_now() {
  std::vector<Task> left = queue_->stop();
  pool_.shutdown_now();
  return left;
}

bool ScheduledThreadPoolExecutor::is_shutdown() const noexcept { return pool_.is_shutdown(); }
bool ScheduledThreadPoolExecutor::is_terminated() const noexcept { return pool_.is_terminated(); }
bool ScheduledThreadPoolExecutor::await_termination(Deadline deadline) {
  return pool_.await_termination(deadline);
}

void ScheduledThreadPoolExecutor::set_continue_existing_periodic_tasks_after_shutdown_policy(bool on) {
  queue_->keeps_periodic.store(on);
  if (is_shutdown()) shutdown();
}
bool ScheduledThreadPoolExecutor::continues_existing_periodic_tasks_after_shutdown() const noexcept {
  return queue_->keeps_periodic.load();
}
void ScheduledThreadPoolExecutor::set_execute_existing_delayed_tasks_after_shutdown_policy(bool on) {
  queue_->keeps_delayed.store(on);
  if (is_shutdown()) shutdown();
}
bool ScheduledThreadPoolExecutor::executes_existing_delayed_tasks_after_shutdown() const noexcept {
  return queue_->keeps_delayed.load();
}
void ScheduledThreadPoolExecutor::set_remove_on_cancel_policy(bool on) noexcept {
  queue_->removes_cancelled.store(on);
}
bool ScheduledThreadPoolExecutor::removes_on_cancel() const noexcept {
  return queue_->removes_cancelled.load();
}

}  // namespace creel
