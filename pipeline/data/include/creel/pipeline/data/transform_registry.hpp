#pragma once

#include <creel/pipeline/data/transform.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

// For those who write a transform: src/transforms/<stem>.cpp defines `void
// register_<stem>(TransformRegistry&)`.

namespace creel::pipeline {

/// The arguments of a call as types. Each getter takes the next one; finish() refuses what is left. All throw
/// Error of code Config with the call, the argument's name and what would be right.
class ArgumentReader {
 public:
  explicit ArgumentReader(const TransformCall& call) : call_(call) {}

  bool more() const noexcept { return next_ < call_.arguments.size(); }
  std::size_t count() const noexcept { return call_.arguments.size(); }
  std::int64_t integer(const char* name, std::int64_t least, std::int64_t most);
  double number(const char* name, double least, double most);
  /// One of `words`.
  std::string word(const char* name, const std::vector<std::string>& words);
  /// Whether the next argument is a word, not a number.
  bool next_is_word() const noexcept;
  void finish() const;

 private:
  const std::string& take(const char* name);
  [[noreturn]] void refuse(const char* name, const std::string& value, const std::string& wanted) const;

  const TransformCall& call_;
  std::size_t next_ = 0;
};

class TransformRegistry {
 public:
  using Make = std::function<std::unique_ptr<Transform>(ArgumentReader&)>;
  void add(std::string name, Make make) { makers_.emplace(std::move(name), std::move(make)); }
  const std::map<std::string, Make>& makers() const noexcept { return makers_; }

 private:
  std::map<std::string, Make> makers_;
};

}  // namespace creel::pipeline
