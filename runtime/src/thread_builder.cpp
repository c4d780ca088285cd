#include "native_thread.hpp"
#include "record_pool.hpp"
#include "thread_body.hpp"
#include "thread_local_map.hpp"
#include "thread_record.hpp"
#include "virtual_thread.hpp"

#include <creel/runtime/log.hpp>
#include <creel/runtime/thread_container.hpp>

#include <cxxabi.h>

#include <atomic>

namespace creel {

struct Thread::Builder::Options {
  bool is_virtual = false;
  std::string name;
  bool counted = false;
  std::atomic<std::uint64_t> counter{0};
  bool daemon = false;
  bool inherit_thread_locals = true;
  int priority = 5;
  std::size_t stack_size = 0;
  UncaughtExceptionHandler handler;
  std::shared_ptr<ThreadContainer> container;

  Options() = default;
  Options(const Options& other)
      : is_virtual(other.is_virtual),
        name(other.name),
        counted(other.counted),
        counter(other.counter.load(std::memory_order_relaxed)),
        daemon(other.daemon),
        inherit_thread_locals(other.inherit_thread_locals),
        priority(other.priority),
        stack_size(other.stack_size),
        handler(other.handler),
        container(other.container) {}

  std::string next_name() {
    if (counted) return name + std::to_string(counter.fetch_add(1, std::memory_order_relaxed));
    if (!name.empty() || is_virtual) return name;
    static std::atomic<std::uint64_t> unnamed{0};
    return "Thread-" + std::to_string(unnamed.fetch_add(1, std::memory_order_relaxed));
  }

  void fill(detail::ThreadRecord& record) {
    record.set_name(next_name());
    record.daemon.store(daemon || is_virtual, std::memory_order_relaxed);
    record.priority.store(priority, std::memory_order_relaxed);
    const detail::ThreadRecord& parent = detail::current_record();
    if (inherit_thread_locals) detail::inherit_thread_locals(parent, record);
    if (container != nullptr) {
      record.container = container->node();
    } else if (parent.starts_in != nullptr) {
      record.container = parent.starts_in->node();
    }
  }

  Thread start(std::function<void()> body, std::stop_source stopper);
};

namespace {

struct NativeStart {
  std::shared_ptr<detail::ThreadRecord> record;
  std::function<void()> body;
  UncaughtExceptionHandler handler;
};

void* native_entry(void* argument) {
  const std::unique_ptr<NativeStart> start{static_cast<NativeStart*>(argument)};
  detail::attach_record_to_thread(start->record);
  detail::set_kernel_name(start->record->os_tid, start->record->name());
  detail::set_kernel_priority(start->record->priority);
  detail::run_thread_body(start->record, start->body, start->handler);
  return nullptr;
}

Thread start_platform(std::shared_ptr<detail::ThreadRecord> record, std::size_t stack_size,
                      std::function<void()> body, UncaughtExceptionHandler handler) {
  Thread thread(record);
  auto start = std::make_unique<NativeStart>(NativeStart{record, std::move(body), std::move(handler)});
  record->state.store(ThreadState::Runnable, std::memory_order_relaxed);
  detail::ThreadRegistry::instance().add(record);
  if (const int error = detail::start_native_thread(stack_size, native_entry, start.get()); error != 0) {
    record->end();
    throw Error("cannot start thread \"" + record->name() + "\": " + detail::describe_thread_limits(error));
  }
  start.release();  // the new thread's
  return thread;
}

Thread start_virtual_thread(std::shared_ptr<detail::VirtualThread> record) {
  Thread thread(record);
  record->state.store(ThreadState::Runnable, std::memory_order_relaxed);
  detail::ThreadRegistry::instance().add(record);
  try {
    detail::start_virtual(*record);
  } catch (...) {
    record->end();
    throw;
  }
  return thread;
}

}  // namespace

Thread Thread::Builder::Options::start(std::function<void()> body, std::stop_source stopper) {
  if (is_virtual) {
    const std::size_t bytes = stack_size != 0 ? stack_size : detail::kDefaultVirtualStackBytes;
    auto record = std::allocate_shared<detail::VirtualThread>(
        detail::RecordAllocator<detail::VirtualThread>{}, std::move(body), handler, bytes);
    fill(*record);
    record->stopper = std::move(stopper);
    return start_virtual_thread(std::move(record));
  }
  auto record = std::make_shared<detail::ThreadRecord>(false);
  fill(*record);
  record->stopper = std::move(stopper);
  return start_platform(std::move(record), stack_size, std::move(body), handler);
}

Thread::Builder Thread::of_platform() {
  Builder builder;
  builder.options_ = std::make_shared<Builder::Options>();
  return builder;
}

Thread::Builder Thread::of_virtual() {
  Builder builder = of_platform();
  builder.options_->is_virtual = true;
  return builder;
}

Thread::Builder& Thread::Builder::name(std::string name) {
  options_->name = std::move(name);
  options_->counted = false;
  return *this;
}

Thread::Builder& Thread::Builder::name(std::string prefix, std::uint64_t start) {
  options_->name = std::move(prefix);
  options_->counted = true;
  options_->counter.store(start, std::memory_order_relaxed);
  return *this;
}

Thread::Builder& Thread::Builder::daemon(bool on) {
  options_->daemon = on;
  return *this;
}

Thread::Builder& Thread::Builder::priority(int priority) {
  if (priority < 1 || priority > 10) {
    throw Error("thread priority " + std::to_string(priority) + " is out of range; use 1 (least) to 10");
  }
  options_->priority = priority;
  return *this;
}

Thread::Builder& Thread::Builder::stack_size(std::size_t bytes) {
  options_->stack_size = bytes;
  return *this;
}

Thread::Builder& Thread::Builder::uncaught_exception_handler(UncaughtExceptionHandler handler) {
  options_->handler = std::move(handler);
  return *this;
}

Thread::Builder& Thread::Builder::inherit_thread_locals(bool on) {
  options_->inherit_thread_locals = on;
  return *this;
}

Thread::Builder& Thread::Builder::container(std::shared_ptr<ThreadContainer> container) {
  options_->container = std::move(container);
  return *this;
}

Thread Thread::Builder::start(std::function<void()> body) {
  return options_->start(std::move(body), std::stop_source{std::nostopstate});
}

Thread Thread::Builder::start(std::function<void(std::stop_token)> body) {
  std::stop_source stopper;
  auto with_token = [body = std::move(body), token = stopper.get_token()] { body(token); };
  return options_->start(std::move(with_token), std::move(stopper));
}

ThreadFactory Thread::Builder::factory() const {
  auto options = std::make_shared<Options>(*options_);
  return [options](std::function<void()> body) {
    return options->start(std::move(body), std::stop_source{std::nostopstate});
  };
}

namespace detail {

std::string describe_exception(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return type != nullptr ? std::string("exception of type ") + type->name() : "unknown exception";
  }
}

void run_thread_body(const std::shared_ptr<ThreadRecord>& record, const std::function<void()>& body,
                     const UncaughtExceptionHandler& handler) {
  try {
    body();
  } catch (abi::__forced_unwind&) {
    throw;  // pthread_exit
  } catch (...) {
    const std::exception_ptr exception = std::current_exception();
    try {
      if (handler) {
        handler(Thread(record), exception);
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
