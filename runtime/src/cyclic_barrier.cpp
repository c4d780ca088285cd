#include <creel/runtime/cyclic_barrier.hpp>
#include <creel/runtime/thread.hpp>

#include <mutex>
#include <utility>

namespace creel {

CyclicBarrier::CyclicBarrier(std::uint32_t parties, std::function<void()> action, std::string name)
    : parties_(parties),
      action_(std::move(action)),
      name_(std::move(name)),
      lock_(name_),
      tripped_(lock_, "creel::CyclicBarrier", name_, this),
      missing_(parties),
      generation_(std::make_shared<Generation>()) {
  if (const auto as_given = static_cast<std::int32_t>(parties); as_given < 1) {
    throw Error(described() + ": " + std::to_string(as_given) + " parties; a barrier is for 1 or more");
  }
}

std::string CyclicBarrier::described() const {
  return "creel::CyclicBarrier" + (name_.empty() ? std::string() : " \"" + name_ + "\"");
}

void CyclicBarrier::break_it() noexcept {
  generation_->broken = true;
  missing_ = parties_;
  tripped_.signal_all();
}

void CyclicBarrier::begin_generation() {
  std::shared_ptr<Generation> next = std::make_shared<Generation>();
  tripped_.signal_all();
  missing_ = parties_;
  generation_ = std::move(next);
}

std::uint32_t CyclicBarrier::await(Deadline deadline) {
  const std::scoped_lock guard{lock_};
  if (generation_->broken) throw BrokenBarrierError(described() + " is broken; reset() makes it new");
  if (Thread::interrupted()) {
    break_it();
    throw InterruptedError("interrupted before it could wait at a " + described());
  }
  const std::uint32_t index = --missing_;
  if (index > 0) return wait_for_others(index, deadline);
  try {
    if (action_) action_();
    begin_generation();
  } catch (...) {
    break_it();
    throw;
  }
  return 0;
}

std::uint32_t CyclicBarrier::wait_for_others(std::uint32_t index, Deadline deadline) {
  const std::shared_ptr<Generation> mine = generation_;
  for (;;) {
    bool in_time = true;
    try {
      in_time = tripped_.await(deadline);
    } catch (const InterruptedError&) {
      if (mine == generation_ && !mine->broken) {
        break_it();
        throw;
      }
      Thread::current().interrupt();  // it came too late to matter here
    }
    if (mine->broken)
      throw BrokenBarrierError(described() + " was broken while thread \"" + Thread::current_name() +
                               "\" waited at it");
    if (mine != generation_) return index;
    if (!in_time) {
      const std::uint32_t missing = missing_;
      break_it();
      throw TimeoutError("timed out at a " + described() + ": " + std::to_string(missing) + " of " +
                         std::to_string(parties_) + " threads had not come");
    }
  }
}

void CyclicBarrier::reset() {
  const std::scoped_lock guard{lock_};
  std::shared_ptr<Generation> next = std::make_shared<Generation>();
  break_it();
  generation_ = std::move(next);
}

bool CyclicBarrier::is_broken() const {
  const std::scoped_lock guard{lock_};
  return generation_->broken;
}

std::uint32_t CyclicBarrier::number_waiting() const {
  const std::scoped_lock guard{lock_};
  return parties_ - missing_;
}

}  // namespace creel
