#pragma once

#include <creel/runtime/thread_dump.hpp>

#include <cstddef>
#include <vector>

namespace creel::detail {

class ThreadRecord;

/// What is bound on a thread, innermost first, without the bindings that inner ones hide; at most `most`. Any
/// thread may ask, at any time; empty if the bindings changed at each attempt.
std::vector<ScopedValueInfo> read_scoped_values(const ThreadRecord& record, std::size_t most = 16);

}  // namespace creel::detail
