#pragma once

#include <creel/runtime/thread.hpp>

#include <functional>
#include <memory>

namespace creel::detail {

/// Runs a thread's body; what it throws goes to the thread's handler, or to the default one, or to the log if
/// there is neither. Never throws, except that a pthread_exit() inside unwinds through.
void run_thread_body(const std::shared_ptr<ThreadRecord>& record, const std::function<void()>& body);

/// Error if it is none.
void check_priority(int priority);

/// What the exception says: its what(), or its type's name.
std::string describe_exception(const std::exception_ptr& exception);

}  // namespace creel::detail
