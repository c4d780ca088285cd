#pragma once

namespace creel {

class ScheduledThreadPoolExecutor;

namespace detail {

/// One daemon thread for the deadlines of futures and scopes. What it runs is short: it completes, cancels,
/// or hands tasks over. Work that is cancelled leaves its queue at once.
ScheduledThreadPoolExecutor& delayer();

}  // namespace detail
}  // namespace creel
