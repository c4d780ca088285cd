#pragma once

#include <creel/runtime/fibers/channel.hpp>
#include <creel/runtime/fibers/condition_variable.hpp>
#include <creel/runtime/fibers/exceptions.hpp>
#include <creel/runtime/fibers/fiber.hpp>
#include <creel/runtime/fibers/future.hpp>
#include <creel/runtime/fibers/mutex.hpp>

/// Boost.Fiber's API on creel's virtual threads: code written for it runs on creel's carriers, and its fibers
/// show in dumps with name, state, stack, the locks they hold and what they wait for. Names and spelling are
/// Boost's; Boost itself is not needed.
///
///     namespace fibers = creel::fibers;               // was: boost::fibers
///     fibers::fiber worker{[&] { … }};
///
/// Or without touching the source: link the CMake target creel::fiber_bridge, whose include folder has
/// <boost/fiber/….hpp> and makes boost::fibers and boost::this_fiber names of the ones here.
///
/// What differs from Boost.Fiber:
/// - Fibers run in parallel, on all carriers. Code that relies on nothing else running between two waits
///   needs CREEL_CARRIERS=1 in its environment, or locks.
/// - A fiber may go on on another operating system's thread after each wait: thread_local is not its own;
///   fiber_specific_ptr is. The same goes for Boost's own work-stealing schedulers.
/// - launch::dispatch does not promise that the new fiber runs first; see launch.
/// - Calls that wait can be interrupted, by creel's Thread::interrupt() and by what uses it (scopes, pools),
///   and throw InterruptedError then; mutex::lock() cannot. Nothing else throws it.
/// - An exception that leaves a fiber goes to the uncaught-exception handler instead of std::terminate.
/// - Detached fibers do not keep their thread from ending; they end with the process.
/// - use_scheduling_algorithm() accepts Boost's own schedulers and changes nothing. Schedulers of one's own,
///   fiber properties and segmented stacks are not there.
namespace creel::fibers {

namespace algo {
/// Boost's schedulers by name: creel's does what each of them is for.
class round_robin {};
class shared_work {};
class work_stealing {};
}  // namespace algo

/// Accepted for the sake of code that sets up one of Boost's schedulers on each of its threads.
template <typename Algorithm, typename... Arguments>
void use_scheduling_algorithm(Arguments&&...) noexcept {
  static_assert(std::is_same_v<Algorithm, algo::round_robin> ||
                    std::is_same_v<Algorithm, algo::shared_work> ||
                    std::is_same_v<Algorithm, algo::work_stealing>,
                "fibers run on creel's scheduler; one of your own cannot take its place");
}

}  // namespace creel::fibers
