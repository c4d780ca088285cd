#pragma once

#include <creel/runtime/unique_fd.hpp>

#include <elfutils/libdw.h>
#include <gelf.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// The executable and shared libraries of this process, as the dynamic loader lists them, with their files
// opened on first need. Not thread-safe: the dump engine's lock guards it (libdw itself is not thread-safe
// either).

namespace creel::detail {

/// One loaded ELF object. An address of the process minus bias() is an address of its file.
class LoadedObject {
 public:
  LoadedObject(std::string path, std::uintptr_t bias, std::string build_id);
  ~LoadedObject();
  LoadedObject(const LoadedObject&) = delete;
  LoadedObject& operator=(const LoadedObject&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::string_view name() const noexcept;  ///< the file's name without its folder
  std::uintptr_t bias() const noexcept { return bias_; }
  const std::string& build_id() const noexcept { return build_id_; }

  /// The file, mapped; nullptr if it is gone or no longer the one that was loaded (its build id differs).
  Elf* elf();
  /// Call frame information of .eh_frame; nullptr if there is none.
  Dwarf_CFI* cfi();
  /// Debugging information; nullptr if there is none in the file itself. Separate files are not searched for.
  Dwarf* dwarf();

 private:
  void open();

  std::string path_;
  std::uintptr_t bias_;
  std::string build_id_;
  bool opened_ = false;
  UniqueFd fd_;
  Elf* elf_ = nullptr;
  Dwarf_CFI* cfi_ = nullptr;
  bool cfi_tried_ = false;
  Dwarf* dwarf_ = nullptr;
  bool dwarf_tried_ = false;
};

class LoadedObjects {
 public:
  /// Follows dlopen and dlclose. Returns true if an object went away: what was cached about addresses is then
  /// void.
  bool refresh();

  /// The object whose executable code contains `address`; nullptr if none.
  LoadedObject* find(std::uintptr_t address) noexcept;

 private:
  struct CodeRange {
    std::uintptr_t low, high;
    LoadedObject* object;
  };
  struct Scan;

  unsigned long long adds_ = 0, subs_ = 0;
  std::vector<std::unique_ptr<LoadedObject>> objects_;
  std::vector<CodeRange> ranges_;  // sorted by low
};

}  // namespace creel::detail
