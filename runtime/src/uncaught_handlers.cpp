#include "uncaught_handlers.hpp"

#include "thread_body.hpp"

#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>

#include <cxxabi.h>
#include <pthread.h>

#include <mutex>
#include <unordered_map>
#include <utility>

namespace creel {
namespace {

/// Held for a copy or a swap only: what is replaced is destroyed after.
struct Handlers {
  std::mutex lock;
  UncaughtExceptionHandler by_default;
  std::unordered_map<const detail::ThreadRecord*, UncaughtExceptionHandler> own;

  // Never freed: threads may end after the last static destructor.
  static Handlers& instance() {
    static Handlers* const handlers = [] {
      ::pthread_atfork([] { instance().lock.lock(); }, [] { instance().lock.unlock(); },
                       [] { instance().lock.unlock(); });
      return new Handlers;
    }();
    return *handlers;
  }
};

}  // namespace

void Thread::set_default_uncaught_exception_handler(UncaughtExceptionHandler handler) {
  Handlers& all = Handlers::instance();
  const std::lock_guard guard{all.lock};
  all.by_default.swap(handler);
}

UncaughtExceptionHandler Thread::default_uncaught_exception_handler() {
  Handlers& all = Handlers::instance();
  const std::lock_guard guard{all.lock};
  return all.by_default;
}

void Thread::set_uncaught_exception_handler(UncaughtExceptionHandler handler) const {
  detail::set_own_handler(*record_, std::move(handler));
}

UncaughtExceptionHandler Thread::uncaught_exception_handler() const {
  if (state() == ThreadState::Terminated) return nullptr;
  if (UncaughtExceptionHandler own = detail::own_handler(*record_)) return own;
  return default_uncaught_exception_handler();
}

namespace detail {

void set_own_handler(ThreadRecord& record, UncaughtExceptionHandler handler) {
  if (!handler) {
    forget_own_handler(record);
    return;
  }
  Handlers& all = Handlers::instance();
  const std::lock_guard guard{all.lock};
  all.own[&record].swap(handler);
  record.has_handler.store(true, std::memory_order_relaxed);
}

UncaughtExceptionHandler own_handler(const ThreadRecord& record) {
  if (!record.has_handler.load(std::memory_order_relaxed)) return nullptr;
  Handlers& all = Handlers::instance();
  const std::lock_guard guard{all.lock};
  const auto found = all.own.find(&record);
  return found != all.own.end() ? found->second : nullptr;
}

void forget_own_handler(ThreadRecord& record) noexcept {
  if (!record.has_handler.load(std::memory_order_relaxed)) return;
  Handlers& all = Handlers::instance();
  decltype(all.own)::node_type forgotten;
  const std::lock_guard guard{all.lock};
  forgotten = all.own.extract(&record);
  record.has_handler.store(false, std::memory_order_relaxed);
}

void run_thread_body(const std::shared_ptr<ThreadRecord>& record, const std::function<void()>& body) {
  try {
    body();
  } catch (abi::__forced_unwind&) {
    throw;  // pthread_exit
  } catch (...) {
    const std::exception_ptr exception = std::current_exception();
    try {
      if (const UncaughtExceptionHandler chosen = Thread(record).uncaught_exception_handler()) {
        chosen(Thread(record), exception);
        return;
      }
    } catch (const std::exception& error) {
      log::error("thread.handler_failed", {{"what", error.what()}});
    } catch (...) {
      log::error("thread.handler_failed");
    }
    log::error("thread.uncaught", {{"what", describe_exception(exception)}});
  }
}

}  // namespace detail
}  // namespace creel
