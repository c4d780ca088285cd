#include <creel/models/tokenizer.hpp>
#include <creel/runtime/error.hpp>

namespace creel::models {

std::vector<std::int64_t> Tokenizer::encode(std::string_view text, std::int64_t context) const {
  if (context < 2)
    throw Error("a context of " + std::to_string(context) +
                " tokens has no room for start and end; use 2 or more");
  std::vector<std::int64_t> ids = encode(text);
  const auto length = static_cast<std::size_t>(context);
  if (ids.size() > length) ids[length - 1] = end_id();
  ids.resize(length, pad_id());
  return ids;
}

}  // namespace creel::models
