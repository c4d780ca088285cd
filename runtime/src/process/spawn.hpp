#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace creel::detail {

/// All that a child needs between its birth and exec, ready made: it may allocate nothing.
struct SpawnPlan {
  struct Limit {
    int resource = 0;
    rlimit value{};
  };

  std::vector<std::string> candidates;  // paths of the program, tried in turn
  std::vector<char*> arguments;         // nullptr at the end, as environment
  std::vector<char*> environment;
  std::string directory;                       // empty: ours
  std::array<int, 3> standard = {-1, -1, -1};  // descriptors above 2; -1: ours as it is
  std::vector<int> inherited;                  // stay open under the same number
  std::vector<Limit> limits;
  std::optional<pid_t> process_group;
  bool new_session = false;
  int death_signal = 0;
};

enum class SpawnStep : int {
  Fork,
  Session,
  ProcessGroup,
  Limit,
  DeathSignal,
  Standard,
  Inherit,
  Directory,
  Exec
};

struct SpawnOutcome {
  pid_t pid = -1;  // -1: there is no child
  SpawnStep failed = SpawnStep::Fork;
  int error = 0;
};

/// Starts the child and returns once it runs the program, or could not.
SpawnOutcome spawn(const SpawnPlan& plan) noexcept;

}  // namespace creel::detail
