#pragma once

#include "thread_record.hpp"

namespace creel::detail {

/// The handlers of single threads. They stand beside the records: few threads have one, and a million records
/// are not to be larger for them.
void set_own_handler(ThreadRecord& record, UncaughtExceptionHandler handler);
/// Empty if it has none.
UncaughtExceptionHandler own_handler(const ThreadRecord& record);
/// At the thread's end.
void forget_own_handler(ThreadRecord& record) noexcept;

}  // namespace creel::detail
