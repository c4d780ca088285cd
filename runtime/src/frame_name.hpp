#pragma once

#include <string>
#include <string_view>
#include <typeinfo>

namespace creel::detail {

/// A mangled C++ name (or any other symbol) as dumps show it: demangled, without parameters, return type,
/// qualifiers and clone suffixes, so that `NAME(FILE:LINE)` has one pair of parentheses as the JVM's frames
/// have. Template arguments longer than 48 characters become `<...>`; `main::{lambda(int)#1}::operator()(int)
/// const` becomes `main::{lambda#1}`.
std::string frame_name(const char* symbol);

/// A type's name, demangled.
std::string type_name(const std::type_info& type);

/// As frame_name for a name that is already demangled.
std::string shorten_name(std::string_view demangled);

}  // namespace creel::detail
