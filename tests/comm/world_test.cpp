#include <creel/comm/world.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/multi_process.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

using creel::comm::World;

namespace {

// Runs `make` in a process of its own, whose limits it may change; gives its message.
std::string message_of(const std::function<std::string()>& make) {
  World world = World::create(1);
  creel_test::RankProcesses process(world, [&](World&, int) { return make(); });
  return process.wait().front().message;
}

int objects_in_dev_shm() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    // Those of shared_segment_test, which may run beside us, come and go.
    if (entry.path().filename().string().find("-test-") == std::string::npos) ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("a world is seen through its descriptor") {
  const int before = objects_in_dev_shm();
  World made = World::create(3);
  CHECK(made.size() == 3);
  CHECK((::fcntl(made.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  World seen = World::attach(::dup(made.fd()));
  CHECK(seen.size() == 3);

  CHECK(seen.status(1).pid == 0);
  made.enter(1);
  CHECK(seen.status(1).pid == ::getpid());
  CHECK(seen.status(1).doing.empty());

  CHECK(seen.stop_requested() == 0);
  made.request_stop(SIGTERM);
  CHECK(seen.stop_requested() == SIGTERM);

  CHECK_FALSE(seen.aborted());
  made.abort(2, "killed by signal 9 (SIGKILL)");
  made.abort(1, "a later one does not count");
  REQUIRE(seen.aborted());
  CHECK(seen.aborted()->rank == 2);
  CHECK(seen.aborted()->reason == "killed by signal 9 (SIGKILL)");
  CHECK(objects_in_dev_shm() == before);
}

TEST_CASE("a reason that is too long is cut, none in particular is -1") {
  World world = World::create(2);
  world.abort(-1, std::string(1000, 'x'));
  CHECK(world.aborted()->rank == -1);
  CHECK(world.aborted()->reason == std::string(255, 'x'));
}

TEST_CASE("all memory is there when the world is made, and its size cannot change") {
  World world = World::create(4);
  struct stat status {};
  REQUIRE(::fstat(world.fd(), &status) == 0);
  CHECK(status.st_blocks * 512 >= status.st_size);
  CHECK(::ftruncate(world.fd(), 0) != 0);
  CHECK(errno == EPERM);
}

TEST_CASE("two processes cannot be one rank") {
  World world = World::create(2);
  world.enter(0);
  world.enter(0);
  const auto outcome = [&] {
    World& w = world;
    creel_test::RankProcesses others(w, [](World& inherited, int) {
      inherited.enter(0);
      return std::string("entered");
    });
    return others.wait();
  }();
  CHECK(outcome[0].exit_code == 1);
  CHECK(outcome[0].message.find("rank 0 is process " + std::to_string(::getpid())) != std::string::npos);
  CHECK_THROWS_WITH(world.enter(2), "rank 2 of a world of 2 ranks");
}

TEST_CASE("too little memory is an error that names both sizes") {
  try {
    World::create(2, std::size_t{1} << 50);  // capped: only what pays is taken
  } catch (const creel::Error& error) {
    FAIL(error.what());
  }
  const std::string limited = message_of([] {
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    World::create(2);
    return std::string("made");
  });
  CHECK_MESSAGE(limited.find("needed 1 MiB (105") != std::string::npos, limited);
  CHECK_MESSAGE(limited.find("present 1 MiB (1048576 bytes)") != std::string::npos, limited);
}

TEST_CASE("a world of too many ranks or too small slots is refused") {
  CHECK_THROWS_WITH(World::create(0), "a world of 0 ranks: use 1 to 255");
  CHECK_THROWS_WITH(World::create(256), "a world of 256 ranks: use 1 to 255");
  CHECK_THROWS_WITH(World::create(3, 256), "slots of 256 bytes are too small for 3 ranks; use at least 512");
  CHECK(World::create(255, 255 * 256).size() == 255);
}

TEST_CASE("what is not a world is refused by name") {
  CHECK_THROWS_AS(World::attach(-1), creel::IoError);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK_THROWS_WITH(World::attach(null), doctest::Contains("is not the shared memory of a run"));

  const int other = ::memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  REQUIRE(::ftruncate(other, 1 << 20) == 0);
  REQUIRE(::fcntl(other, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  CHECK_THROWS_WITH(World::attach(::dup(other)), doctest::Contains("is not the shared memory of a run"));

  // Our magic, another version; then our version over a size that the header contradicts.
  World world = World::create(2);
  std::byte header[64];
  REQUIRE(::pread(world.fd(), header, sizeof(header), 0) == sizeof(header));
  REQUIRE(::pwrite(other, header, sizeof(header), 0) == sizeof(header));
  CHECK_THROWS_WITH(World::attach(::dup(other)), doctest::Contains("contradicts its size of 1048576 bytes"));
  header[8] = std::byte{99};
  REQUIRE(::pwrite(other, header, sizeof(header), 0) == sizeof(header));
  CHECK_THROWS_WITH(World::attach(other), doctest::Contains("has version 99"));
}
