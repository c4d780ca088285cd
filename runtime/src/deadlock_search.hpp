#pragma once

#include "thread_record.hpp"

#include <creel/runtime/deadlock.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace creel::detail {

/// The deadlocks among `records` (sorted by id); see find_deadlocks().
std::vector<Deadlock> search_deadlocks(std::span<const std::shared_ptr<ThreadRecord>> records);

/// The cycles of a graph in which node i points to next[i] (or to nothing if that is < 0), each once.
std::vector<std::vector<std::size_t>> find_cycles(std::span<const std::ptrdiff_t> next);

}  // namespace creel::detail
