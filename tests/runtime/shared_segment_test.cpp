#include "creel_test/shared_processes.hpp"

#include <creel/runtime/shared_segment.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

using creel::SharedSegment;
using Name = creel_test::SegmentName;

namespace {

pid_t start_process(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 2;
    try {
      code = body() ? 0 : 1;
    } catch (...) {
    }
    ::_exit(code);
  }
  return child;
}

int status_of(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

int error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const creel::IoError& error) {
    return error.error_number();
  }
  return 0;
}

// Takes blocks, marks them, checks that nobody else wrote there, and gives them back.
bool churn(SharedSegment& segment, unsigned seed, int rounds) {
  std::vector<std::pair<unsigned char*, std::size_t>> held;
  for (int i = 0; i < rounds; ++i) {
    seed = seed * 1664525 + 1013904223;
    const std::size_t bytes = 1 + (seed >> 16) % 300;
    auto* block = static_cast<unsigned char*>(segment.allocate(bytes));
    std::memset(block, static_cast<int>(bytes % 251), bytes);
    held.emplace_back(block, bytes);
    if (held.size() < 16) continue;
    std::swap(held[(seed >> 8) % held.size()], held.back());
    const auto [old, size] = held.back();
    held.pop_back();
    if (!std::all_of(old, old + size, [size = size](unsigned char c) { return c == size % 251; }))
      return false;
    segment.deallocate(old);
  }
  for (const auto& [block, bytes] : held) segment.deallocate(block);
  return true;
}

}  // namespace

TEST_CASE("a shared segment is created once, opened by name and gone after remove") {
  const Name name;
  CHECK_FALSE(SharedSegment::open(name.text));
  SharedSegment made = SharedSegment::create(name.text, 10000);
  CHECK(made.size() >= 10000);
  CHECK(made.untouched() >= 10000);
  CHECK(made.creator() == ::getpid());
  CHECK(error_of([&] { SharedSegment::create(name.text, 10000); }) == EEXIST);
  auto other = SharedSegment::open(name.text);
  REQUIRE(other);
  made.construct<long>("answer", 42);
  REQUIRE(other->find<long>("answer") != nullptr);
  CHECK(other->find<long>("answer") != made.find<long>("answer"));  // two mappings
  CHECK(*other->find<long>("answer") == 42);
  CHECK(other->from_offset(made.to_offset(made.find<long>("answer"))) == other->find<long>("answer"));
  CHECK(SharedSegment::remove(name.text));
  CHECK_FALSE(SharedSegment::remove(name.text));
  CHECK_FALSE(SharedSegment::open(name.text));
  *made.find<long>("answer") = 43;  // who has it keeps it
  CHECK(*other->find<long>("answer") == 43);
}

TEST_CASE("a shared segment refuses bad names, links, open files and other users' files") {
  for (const char* bad : {"", "a/b", "..\n", "a b"}) CHECK_THROWS_AS(SharedSegment::open(bad), creel::Error);
  const Name name;
  SharedSegment::create(name.text, 100);
  const Name link;
  REQUIRE(::symlink(name.path.c_str(), link.path.c_str()) == 0);
  CHECK(error_of([&] { SharedSegment::open(link.text); }) == ELOOP);
  REQUIRE(::chmod(name.path.c_str(), 0644) == 0);
  CHECK(error_of([&] { SharedSegment::open(name.text); }) == EACCES);
  REQUIRE(::chmod(name.path.c_str(), 0600) == 0);
  CHECK(SharedSegment::open(name.text));
  if (::geteuid() == 0) {
    REQUIRE(::chown(name.path.c_str(), 65534, 65534) == 0);
    CHECK(error_of([&] { SharedSegment::open(name.text); }) == EACCES);
  }
  const Name text;
  const int fd = ::open(text.path.c_str(), O_CREAT | O_WRONLY, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(::ftruncate(fd, 8192) == 0);
  ::close(fd);
  CHECK_THROWS_WITH_AS(SharedSegment::open(text.text), doctest::Contains("layout"), creel::Error);
}

TEST_CASE("blocks of a shared segment are used again, counted and checked") {
  const Name name;
  SharedSegment segment = SharedSegment::create(name.text, 4096);
  void* block = segment.allocate(100);
  CHECK(reinterpret_cast<std::uintptr_t>(block) % 16 == 0);
  segment.deallocate(block);
  CHECK(segment.allocate(90) == block);  // of one class
  segment.deallocate(block);
  CHECK_THROWS_AS(segment.deallocate(block), creel::Error);
  int outside = 0;
  CHECK_THROWS_AS(segment.deallocate(&outside), creel::Error);
  CHECK_THROWS_AS(segment.from_offset(segment.size()), creel::Error);
  CHECK_THROWS_AS(segment.allocate(segment.size()), creel::Error);
  std::vector<void*> all;
  while (void* next = segment.try_allocate(500)) all.push_back(next);
  REQUIRE_FALSE(all.empty());
  CHECK_THROWS_WITH_AS(segment.allocate(500), doctest::Contains("create it larger"), creel::Error);
  segment.deallocate(all.back());
  CHECK(segment.allocate(500) == all.back());
}

TEST_CASE("named objects of a shared segment have one type and one life") {
  const Name name;
  SharedSegment segment = SharedSegment::create(name.text, 10000);
  segment.construct<int>("a", 1);
  CHECK_THROWS_AS(segment.construct<int>("a", 2), creel::Error);
  CHECK_THROWS_AS(segment.find<long>("a"), creel::Error);
  CHECK(segment.find<int>("b") == nullptr);
  CHECK(segment.find_or_construct<int>("a", 3) == 1);
  CHECK(segment.destroy<int>("a"));
  CHECK_FALSE(segment.destroy<int>("a"));
  CHECK(segment.find<int>("a") == nullptr);
  segment.construct<long>("a", 4);  // the name may serve another type then
  CHECK(*segment.find<long>("a") == 4);
  struct Thrower {
    Thrower() { throw 7; }
  };
  CHECK_THROWS_AS(segment.construct<Thrower>("t"), int);
  CHECK(segment.find<Thrower>("t") == nullptr);
}

TEST_CASE("processes that open_or_create at once share one segment, object and allocator") {
  const Name name;
  std::vector<pid_t> children;
  for (unsigned p = 0; p < 4; ++p) {
    children.push_back(start_process([&, p] {
      SharedSegment segment = SharedSegment::open_or_create(name.text, 1 << 20);
      auto& sum = segment.find_or_construct<std::atomic<long>>("sum", 0);
      for (int i = 0; i < 1000; ++i) sum += i;
      return churn(segment, p, 20000);
    }));
  }
  for (const pid_t child : children) CHECK(status_of(child) == 0);
  auto segment = SharedSegment::open(name.text);
  REQUIRE(segment);
  REQUIRE(segment->find<std::atomic<long>>("sum") != nullptr);
  CHECK(*segment->find<std::atomic<long>>("sum") == 4 * 999 * 500);
  CHECK(segment->untouched() > (1 << 19));  // freed blocks were used again
}

TEST_CASE("a process killed inside the allocator holds nobody up; sweep removes what nobody has open") {
  const Name name;
  {
    SharedSegment segment = SharedSegment::create(name.text, 1 << 20);
    auto& rounds = segment.construct<std::atomic<int>>("rounds", 0);
    for (int kill = 0; kill < 20; ++kill) {
      const int before = rounds;
      const pid_t victim = start_process([&] {
        for (unsigned seed = 0;; ++seed, ++rounds) {
          if (!churn(segment, seed, 200)) return false;
        }
      });
      while (rounds < before + 3) ::sched_yield();
      ::kill(victim, SIGKILL);
      CHECK(WTERMSIG(status_of(victim)) == SIGKILL);
      CHECK(churn(segment, 99, 1000));
    }
    CHECK(segment.untouched() > (1 << 18));
    const auto swept = SharedSegment::sweep();
    CHECK(std::find(swept.begin(), swept.end(), name.text) == swept.end());
  }
  const pid_t last = start_process([&] {
    auto segment = SharedSegment::open(name.text);
    return segment && ::kill(::getpid(), SIGKILL) == 0;
  });
  CHECK(WTERMSIG(status_of(last)) == SIGKILL);
  const auto swept = SharedSegment::sweep();
  CHECK(std::find(swept.begin(), swept.end(), name.text) != swept.end());
  CHECK(::access(name.path.c_str(), F_OK) != 0);
}
