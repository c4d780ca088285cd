#pragma once

#include <creel/runtime/thread_dump.hpp>

#include <string>

namespace creel::detail {

/// Appends the open TaskScopes of a dump as a tree, with the owner and the first few threads of each; nothing
/// if there are none.
void append_task_scopes(const ThreadDump& dump, std::string& out);

}  // namespace creel::detail
