#include "creel_test/eventually.hpp"
#include "creel_test/temporary_folder.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unix_listener.hpp>
#include <creel/runtime/unix_socket.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <string>

using namespace std::chrono_literals;
using creel::Thread;
using creel::UnixListener;
using creel::UnixSocket;

TEST_CASE("a pair of sockets carries bytes both ways, and each end knows the other's process") {
  auto [left, right] = UnixSocket::pair();
  left.write_all("to the right");
  left.shutdown_output();
  CHECK(right.read_all_bytes(20s) == "to the right");
  right.write_all("to the left");
  right.close();
  CHECK(left.read_all_bytes(20s) == "to the left");
  CHECK(left.peer_credentials().pid == ::getpid());
  CHECK(left.peer_credentials().uid == ::geteuid());
  CHECK(left.peer_credentials().gid == ::getegid());
}

TEST_CASE("connecting to a path that is not there, refuses or is too long names the path") {
  const creel_test::TemporaryFolder folder;
  const auto error_of = [](const std::filesystem::path& path) {
    try {
      UnixSocket::connect(path);
    } catch (const creel::IoError& error) {
      CHECK(std::string(error.what()).find(path.native()) != std::string::npos);
      return error.error_number();
    }
    return 0;
  };
  CHECK(error_of(folder / "nobody") == ENOENT);
  CHECK(error_of(folder / std::string(120, 'x')) == ENAMETOOLONG);
}

TEST_CASE("connecting waits while the listener's queue is full; deadline and interrupt end it") {
  const creel_test::TemporaryFolder folder;
  UnixListener listener(folder / "s", {.backlog = 0});
  UnixSocket first = UnixSocket::connect(listener.path());
  CHECK_THROWS_AS(UnixSocket::connect(listener.path(), 5ms), creel::TimeoutError);
  Thread late = Thread::of_virtual().start([&] {
    CHECK_THROWS_AS(UnixSocket::connect(listener.path()), creel::InterruptedError);
    UnixSocket::connect(listener.path()).write_all("at last");
  });
  REQUIRE(creel_test::eventually([&] { return late.state() == creel::ThreadState::TimedWaiting; }));
  late.interrupt();
  CHECK(listener.accept(20s));
  CHECK(listener.accept(20s).value().read_all_bytes(20s) == "at last");
  CHECK(late.join(20s));
}
