#pragma once

#include <creel/runtime/thread.hpp>

#include <functional>
#include <memory>

namespace creel::detail {

/// Runs a thread's body; what it throws goes to `handler`, or to the log if there is none. Never throws,
/// except that a pthread_exit() inside unwinds through.
void run_thread_body(const std::shared_ptr<ThreadRecord>& record, const std::function<void()>& body,
                     const UncaughtExceptionHandler& handler);

/// What the exception says: its what(), or its type's name.
std::string describe_exception(const std::exception_ptr& exception);

}  // namespace creel::detail
