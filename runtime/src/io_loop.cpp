#include "io_loop.hpp"

#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <memory>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP;
constexpr std::uint32_t kEnded = EPOLLHUP | EPOLLERR;  // the kernel reports these in any case
constexpr std::size_t kWatchesAtOnce = 64;

}  // namespace

IoLoop& IoLoop::instance() noexcept {
  static auto* loop = new IoLoop;  // never freed: its thread runs until the process ends
  return *loop;
}

IoLoop::IoLoop() {
  ThreadRegistry::instance();  // registered with pthread_atfork before us: its locks come after ours
  ::pthread_atfork([] { instance().lock_.lock(); }, [] { instance().lock_.unlock(); },
                   [] {
                     // The set is the parent's: only our reference to it goes.
                     IoLoop& loop = instance();
                     if (const int epoll = loop.epoll_.exchange(-1, kRelaxed); epoll >= 0) ::close(epoll);
                     loop.generation_.fetch_add(1, kRelaxed);
                     loop.lock_.unlock();
                   });
}

Watch& IoLoop::take_watch() {
  const std::lock_guard guard{lock_};
  if (free_ == nullptr) {
    auto* watches = new Watch[kWatchesAtOnce];
    for (std::size_t i = 0; i < kWatchesAtOnce; ++i) {
      watches[i].next_free = free_;
      free_ = &watches[i];
    }
  }
  Watch& watch = *free_;
  free_ = watch.next_free;
  return watch;
}

void IoLoop::return_watch(Watch& watch, int fd) noexcept {
  {
    const std::lock_guard guard{watch.lock};
    // Told explicitly: a child of ours may have the descriptor open still, and then close() removes nothing.
    if (watch.interest != 0 && watch.generation == generation_.load(kRelaxed)) {
      ::epoll_ctl(epoll_.load(kRelaxed), EPOLL_CTL_DEL, fd, nullptr);
    }
    watch.interest = 0;
  }
  const std::lock_guard guard{lock_};
  watch.next_free = free_;
  free_ = &watch;
}

WaitOutcome IoLoop::wait(Watch& watch, int fd, Ready ready, std::uint64_t seen, const Blocker& blocker,
                         Deadline deadline) {
  // Whatever became ready before the kernel knows of the watch is reported by its registration.
  arm(watch, fd, ready == Ready::Read ? kReadEvents : EPOLLOUT);
  Watch::Direction& direction = watch.direction(ready);
  return direction.waiters.await(blocker, deadline, Interruptible::Yes, WaitQueue::Order::Any,
                                 [&] { return direction.events.load(std::memory_order_acquire) != seen; });
}

void IoLoop::watch_until_done(UniqueFd fd, std::function<bool()> on_ready) {
  Watch& watch = take_watch();
  const int number = fd.get();
  // The callback owns the descriptor: it is closed when the callback is dropped.
  auto owned = std::make_shared<UniqueFd>(std::move(fd));
  {
    const std::lock_guard guard{watch.lock};
    watch.on_ready = [this, &watch, owned, body = std::move(on_ready)] {
      if (!body()) return false;
      return_watch(watch, owned->get());
      return true;
    };
  }
  try {
    arm(watch, number, EPOLLIN);
  } catch (...) {
    std::function<bool()> dropped;
    {
      const std::lock_guard guard{watch.lock};
      dropped.swap(watch.on_ready);
    }
    return_watch(watch, number);
    throw;
  }
}

void IoLoop::arm(Watch& watch, int fd, std::uint32_t interest) {
  const int epoll = ensure_running();
  const std::lock_guard guard{watch.lock};
  const bool known = watch.interest != 0 && watch.generation == generation_.load(kRelaxed);
  if (known && (watch.interest & interest) == interest) return;
  epoll_event event{};
  event.events = EPOLLET | interest | (known ? watch.interest : 0);
  event.data.ptr = &watch;
  if (::epoll_ctl(epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) {
    throw IoError("cannot wait for descriptor", std::to_string(fd), errno);
  }
  watch.interest = event.events;
  watch.generation = generation_.load(kRelaxed);
}

int IoLoop::ensure_running() {
  if (const int epoll = epoll_.load(std::memory_order_acquire); epoll >= 0) return epoll;
  const std::lock_guard guard{lock_};
  if (const int epoll = epoll_.load(kRelaxed); epoll >= 0) return epoll;
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) throw IoError("cannot make an epoll set", "", errno);
  static const auto container = ThreadContainer::create("sockets, pipes and processes", "creel::IoLoop");
  Thread::of_platform().name("creel-io").daemon().container(container).start([this, fd = epoll.get()] {
    run(fd);
  });
  epoll_.store(epoll.get(), std::memory_order_release);
  return epoll.release();
}

void IoLoop::run(int epoll) noexcept {
  std::array<epoll_event, 256> events;
  for (;;) {
    const int count = blocking("epoll_wait", [&] {
      return ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    });
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      dispatch(*static_cast<Watch*>(event.data.ptr), event.events);
    }
  }
}

void IoLoop::dispatch(Watch& watch, std::uint32_t events) noexcept {
  if ((events & (kReadEvents | kEnded)) != 0) {
    watch.read.announce();
    call(watch);
  }
  if ((events & (EPOLLOUT | kEnded)) != 0) watch.write.announce();
}

void IoLoop::call(Watch& watch) noexcept {
  std::function<bool()> on_ready;
  {
    const std::lock_guard guard{watch.lock};
    if (!watch.on_ready) return;
    on_ready.swap(watch.on_ready);
  }
  try {
    if (on_ready()) return;  // the watch may be somebody else's by now
    const std::lock_guard guard{watch.lock};
    on_ready.swap(watch.on_ready);
  } catch (const std::exception& error) {
    log::error("io.callback_failed", {{"error", error.what()}});
  }
}

}  // namespace creel::detail
