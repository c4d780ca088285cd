#include "delayer.hpp"

#include "process_wide.hpp"

#include <creel/runtime/scheduled_executor.hpp>

namespace creel::detail {
namespace {

struct MakeDelayer {
  ScheduledThreadPoolExecutor* operator()() const {
    auto* delayer = new ScheduledThreadPoolExecutor(
        {.core_size = 1,
         .factory = Thread::of_platform().name("creel-delayer").daemon().factory(),
         .name = "creel-delayer"});
    delayer->set_remove_on_cancel_policy(true);
    return delayer;
  }
};

}  // namespace

ScheduledThreadPoolExecutor& delayer() {
  return ProcessWide<ScheduledThreadPoolExecutor, MakeDelayer>::get();
}

}  // namespace creel::detail
