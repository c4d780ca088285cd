#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace creel::log {

enum class Level : std::uint8_t { Debug, Info, Warn, Error, Off };

/// One `key=value` of an event. Numbers keep their shortest exact form; text is quoted when it holds a blank.
struct Field {
  std::string_view key;
  std::string value;

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false") {}
  Field(std::string_view k, double v);
  template <std::integral Integer>
  Field(std::string_view k, Integer v) : key(k), value(std::to_string(v)) {}
};

/// Writes one line to stderr by one write(2): `TIME LEVEL event thread="name" key=value …`.
/// Safe from any thread; never throws. Events are named `part.what` (`stage.started`).
void write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept;

inline void debug(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::Debug, event, fields);
}
inline void info(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::Info, event, fields);
}
inline void warn(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::Warn, event, fields);
}
inline void error(std::string_view event, std::initializer_list<Field> fields = {}) {
  write(Level::Error, event, fields);
}

/// Events below `level` are dropped. Default Info; CREEL_LOG=debug|info|warn|error|off sets it at start.
void set_level(Level level) noexcept;
Level level() noexcept;

}  // namespace creel::log
