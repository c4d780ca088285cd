#pragma once

#include <string>
#include <string_view>

namespace creel::detail {

/// A mangled C++ name (or any other symbol) as dumps show it: demangled, without parameters, return type,
/// qualifiers and clone suffixes, so that `NAME(FILE:LINE)` has one pair of parentheses as the JVM's frames
/// have. Template arguments longer than 48 characters become `<...>`; `main::{lambda(int)#1}::operator()(int)
/// const` becomes `main::{lambda#1}`.
std::string frame_name(const char* symbol);

/// The same for a name that is already demangled.
std::string shorten_name(std::string_view demangled);

}  // namespace creel::detail
