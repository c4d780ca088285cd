#include "frame_name.hpp"
#include "native_thread.hpp"
#include "record_pool.hpp"
#include "thread_body.hpp"
#include "thread_local_map.hpp"
#include "thread_record.hpp"
#include "uncaught_handlers.hpp"
#include "virtual_thread.hpp"

#include <creel/runtime/thread_container.hpp>

#include <cxxabi.h>

#include <atomic>
#include <utility>

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

  void give_name(detail::ThreadRecord& record) {
    if (counted) {
      record.set_name(name, counter.fetch_add(1, std::memory_order_relaxed));
    } else if (!name.empty()) {
      record.set_name(name);
    } else if (!is_virtual) {
      static std::atomic<std::uint64_t> unnamed{0};
      record.set_name("Thread-", unnamed.fetch_add(1, std::memory_order_relaxed));
    }
  }

  static const ThreadContainer* starts_in(const detail::ThreadRecord& parent) noexcept {
    return parent.running.load(std::memory_order_relaxed)->starts_in;
  }

  void fill(detail::ThreadRecord& record) {
    give_name(record);
    record.daemon.store(daemon || is_virtual, std::memory_order_relaxed);
    record.priority.store(static_cast<std::int8_t>(priority), std::memory_order_relaxed);
    const detail::ThreadRecord& parent = detail::current_record();
    if (inherit_thread_locals) detail::inherit_thread_locals(parent, record);
    if (container != nullptr) {
      record.container = container->node();
    } else if (const ThreadContainer* scope = starts_in(parent); scope != nullptr) {
      record.container = scope->node();
    }
  }

  std::shared_ptr<detail::ThreadRecord> make(std::function<void()> body, std::stop_source stopper);
  Thread start(std::function<void()> body, std::stop_source stopper);
};

namespace {

void* native_entry(void* argument) {
  auto& self = *static_cast<detail::PlatformThread*>(argument);
  const std::shared_ptr<detail::ThreadRecord> record = self.shared_from_this();
  const std::function<void()> body = std::exchange(self.body, nullptr);  // ends here, on its own thread
  detail::attach_record_to_thread(record);
  detail::set_kernel_name(record->os_tid, record->name());
  if (const int priority = record->priority; priority != 5)
    detail::set_kernel_priority(record->os_tid, priority);
  detail::run_thread_body(record, body);
  return nullptr;
}

// Of a thread whose state has just become Runnable.
void launch(const std::shared_ptr<detail::ThreadRecord>& record) {
  detail::ThreadRegistry::instance().add(record);
  if (record->is_virtual) {
    try {
      detail::start_virtual(static_cast<detail::VirtualThread&>(*record));
    } catch (...) {
      record->end();
      throw;
    }
    return;
  }
  auto& thread = static_cast<detail::PlatformThread&>(*record);
  if (const int error = detail::start_native_thread(thread.stack_size, native_entry, &thread); error != 0) {
    record->end();
    throw Error("cannot start thread \"" + record->name() + "\": " + detail::describe_thread_limits(error));
  }
}

}  // namespace

std::shared_ptr<detail::ThreadRecord> Thread::Builder::Options::make(std::function<void()> body,
                                                                     std::stop_source stopper) {
  std::shared_ptr<detail::ThreadRecord> record;
  if (is_virtual) {
    const std::size_t bytes = stack_size != 0 ? stack_size : detail::kDefaultVirtualStackBytes;
    record = std::allocate_shared<detail::VirtualThread>(detail::RecordAllocator<detail::VirtualThread>{},
                                                         std::move(body), bytes);
  } else {
    record = std::make_shared<detail::PlatformThread>(std::move(body), stack_size);
  }
  fill(*record);
  record->stopper = std::move(stopper);
  if (handler) detail::set_own_handler(*record, handler);
  return record;
}

Thread Thread::Builder::Options::start(std::function<void()> body, std::stop_source stopper) {
  Thread thread(make(std::move(body), std::move(stopper)));
  thread.record_->state.store(ThreadState::Runnable, std::memory_order_relaxed);
  launch(thread.record_);
  return thread;
}

void Thread::start() const {
  ThreadState expected = ThreadState::New;
  if (!record_->state.compare_exchange_strong(expected, ThreadState::Runnable, std::memory_order_relaxed))
    throw Error("thread \"" + record_->name() + "\" was started before; a thread runs once");
  launch(record_);
}

Thread Thread::start_virtual_thread(std::function<void()> body) {
  return of_virtual().start(std::move(body));
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
  detail::check_priority(priority);
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

Thread Thread::Builder::unstarted(std::function<void()> body) {
  return Thread(options_->make(std::move(body), std::stop_source{std::nostopstate}));
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
    return type != nullptr ? "exception of type " + type_name(*type) : "unknown exception";
  }
}

}  // namespace detail
}  // namespace creel
