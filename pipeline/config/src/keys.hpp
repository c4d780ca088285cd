#pragma once

#include <creel/pipeline/config/run_config.hpp>

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace creel::pipeline::detail {

/// The member of a RunConfig that a key fills; its type is the key's type.
using Slot = std::variant<std::int64_t*, double*, std::string*, std::vector<std::string>*,
                          std::vector<TransformCall>*>;

/// Bounds of a number. An open end is not itself allowed.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;

  bool holds(double value) const {
    return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
  }
};

enum class Need {
  Optional,
  Always,
  WithSection,  ///< only if the section it stands in is given
};

enum class Resume {
  Free,   ///< a resumed run may have another value
  Fixed,  ///< a resumed run must have the same: another one changes what is computed
};

/// One key of the configuration. The tables of these are all that reading, checking, printing and
/// documentation know.
struct Key {
  std::string_view path;
  Slot (*slot)(RunConfig&);
  Range range = {};
  std::string_view choices = {};  ///< `auto|ring`; empty: any text
  bool shards = false;            ///< a file, or a pattern with {000..007}
  Need need = Need::Optional;
  Resume resume = Resume::Free;
  std::string_view doc;

  std::string_view section() const;  ///< `data.source` of `data.source.path`; empty at the top
  std::string_view last() const;     ///< `path` of `data.source.path`
};

/// Names that `model.name` may have.
std::vector<std::string> model_names();

/// Every key of a run with that model, in the order of a config file; of an unknown model all but its own
/// keys.
std::vector<Key> keys_for(std::string_view model);

/// What the key takes, in words: `whole number >= 1`, `auto or ring`, `list of texts`.
std::string type_text(const Key& key);
std::string range_text(const Range& range);
std::vector<std::string> split_choices(std::string_view choices);

}  // namespace creel::pipeline::detail
