#pragma once

#include <string>

namespace creel::detail {

/// A file that goes when its owner does, and also at exit() while the owner still lives (a local of main does
/// not see exit()). Not in a forked child, whose exit must not take its parent's file.
class ExitFile {
 public:
  ExitFile() noexcept = default;
  explicit ExitFile(std::string path);
  ~ExitFile() { remove(); }
  ExitFile(const ExitFile&) = delete;
  ExitFile& operator=(const ExitFile&) = delete;

  void set(std::string path);
  void remove() noexcept;
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace creel::detail
