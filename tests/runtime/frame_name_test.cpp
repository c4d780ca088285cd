#include "frame_name.hpp"

#include <doctest/doctest.h>

#include <string>

using creel::detail::frame_name;
using creel::detail::shorten_name;

TEST_CASE("frame names have no parameters, return types or qualifiers") {
  CHECK(shorten_name("creel::Channel<Sample>::take(creel::Deadline)") == "creel::Channel<Sample>::take");
  CHECK(shorten_name("creel::Thread::is_alive() const") == "creel::Thread::is_alive");
  CHECK(shorten_name("void sort<int*>(int*, int*)") == "sort<int*>");
  CHECK(shorten_name("decltype(auto) std::__do_visit<int>(int&&)") == "std::__do_visit<int>");
  CHECK(shorten_name("std::vector<int> const& get<1>(std::pair<int, int>) [clone .cold]") == "get<1>");
  CHECK(shorten_name("main") == "main");
}

TEST_CASE("frame names keep one pair of parentheses free for the place") {
  CHECK(shorten_name("(anonymous namespace)::spin(int)") == "{anonymous}::spin");
  CHECK(shorten_name("main::{lambda(int)#2}::operator()(int) const") == "main::{lambda#2}");
  CHECK(
      shorten_name("A::run(int) const::{lambda()#1}::operator()() const::{lambda()#3}::operator()() const") ==
      "A::run::{lambda#1}::{lambda#3}");
  CHECK(shorten_name("std::function<void (int)>::operator()(int) const") == "std::function<...>::operator()");
}

TEST_CASE("frame names know operators") {
  CHECK(shorten_name("operator<<(std::ostream&, Point const&)") == "operator<<");
  CHECK(shorten_name("bool operator< <int>(Box<int> const&, Box<int> const&)") == "operator<");
  CHECK(shorten_name("Point::operator==(Point const&) const") == "Point::operator==");
  CHECK(shorten_name("Point::operator->() const") == "Point::operator->");
  CHECK(shorten_name("operator new(unsigned long)") == "operator new");
  CHECK(shorten_name("Flag::operator bool() const") == "Flag::operator bool");
  CHECK(shorten_name("operators::run(int)") == "operators::run");
}

TEST_CASE("types are named as in source") {
  CHECK(creel::detail::type_name(typeid(int)) == "int");
  CHECK(creel::detail::type_name(typeid(std::char_traits<char>)) == "std::char_traits<char>");
}

TEST_CASE("long template arguments are left out") {
  const std::string argument(60, 'x');
  CHECK(shorten_name("Pipe<" + argument + ">::push(int)") == "Pipe<...>::push");
}

TEST_CASE("symbols are demangled, C symbols lose their suffixes") {
  CHECK(frame_name("_ZN5creel6Thread4joinENS_8DeadlineE") == "creel::Thread::join");
  CHECK(frame_name("qsort") == "qsort");
  CHECK(frame_name("parse.isra.0") == "parse");
  CHECK(frame_name("") == "");
  CHECK(frame_name(nullptr) == "");
}
