#pragma once

#include <creel/runtime/waker_set.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace creel {

/// Reads a WakerSet that may be changing, or be gone.
class WakerSetReader {
 public:
  struct Members {
    std::uint64_t version = 0;
    std::vector<std::uint64_t> ids;
    friend bool operator==(const Members&, const Members&) = default;
  };
  /// nullopt if nothing is declared, or it cannot be told at this moment.
  static std::optional<Members> read(const WakerSet* set);

 private:
  static constexpr std::size_t kMost = 65'536;  // what a torn or stale header may make us allocate
};

}  // namespace creel
