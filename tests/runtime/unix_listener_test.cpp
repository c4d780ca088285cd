#include "creel_test/eventually.hpp"
#include "creel_test/temporary_folder.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>
#include <creel/runtime/unix_listener.hpp>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>

using namespace std::chrono_literals;
using creel::Thread;
using creel::UnixListener;
using creel::UnixSocket;
namespace fs = std::filesystem;

namespace {

int error_of(const fs::path& path, const UnixListener::Options& options = {}) {
  try {
    const UnixListener listener(path, options);
  } catch (const creel::IoError& error) {
    return error.error_number();
  }
  return 0;
}

}  // namespace

TEST_CASE("a path serves connections from this user alone, and goes with the listener") {
  const creel_test::TemporaryFolder folder;
  const ::mode_t before = ::umask(0);
  std::optional<UnixListener> listener{folder / "desk"};
  ::umask(before);
  struct stat status {};
  REQUIRE(::lstat((folder / "desk").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  Thread server = Thread::of_virtual().start([&] {
    for (UnixSocket& client : *listener) {
      CHECK(client.peer_credentials().pid == ::getpid());
      client.transfer_to(client);
      client.close();
    }
  });
  for (int i = 0; i < 3; ++i) {
    UnixSocket client = UnixSocket::connect(folder / "desk");
    client.write_all("echo");
    client.shutdown_output();
    CHECK(client.read_all_bytes(20s) == "echo");
  }
  listener->close();
  CHECK(server.join(20s));
  CHECK_FALSE(fs::exists(folder / "desk"));
  {
    const UnixListener wide(folder / "wide", {.mode = 0666});
    REQUIRE(::lstat((folder / "wide").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0666);
  }
  CHECK_FALSE(fs::exists(folder / "wide"));
}

TEST_CASE("the socket of a killed program is replaced, one in use and other files never") {
  const creel_test::TemporaryFolder folder;
  const fs::path path = folder / "desk";
  {  // a program that ends without a word leaves its socket behind
    const creel::UniqueFd killed(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.native().copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(killed.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(killed.get(), 1) == 0);
  }
  REQUIRE(fs::exists(path));
  CHECK(error_of(path, {.replace_stale = false}) == EADDRINUSE);
  UnixListener listener(path);
  CHECK(error_of(path) == EADDRINUSE);
  UnixSocket::connect(path);
  CHECK(listener.accept(20s));

  const fs::path file = folder / "file";
  std::ofstream(file) << "precious";
  CHECK(error_of(file) == EADDRINUSE);
  fs::create_symlink(path, folder / "link");
  CHECK(error_of(folder / "link") == EADDRINUSE);
  CHECK(fs::file_size(file) == 8);
}

TEST_CASE("a path that somebody else has taken, and a parent's, are left alone") {
  const creel_test::TemporaryFolder folder;
  const fs::path path = folder / "desk";
  auto listener = std::make_unique<UnixListener>(path);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    listener.reset();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(fs::exists(path));
  fs::remove(path);
  const UnixListener second(path);
  listener.reset();
  CHECK(fs::exists(path));
}

TEST_CASE("accept of a Unix listener answers deadline, interrupt and close") {
  const creel_test::TemporaryFolder folder;
  UnixListener listener(folder / "desk");
  CHECK_FALSE(listener.accept(2ms));
  Thread interrupted =
      Thread::of_virtual().start([&] { CHECK_THROWS_AS(listener.accept(), creel::InterruptedError); });
  Thread closed = Thread::of_platform().start([&] { CHECK_FALSE(listener.accept()); });
  for (const Thread& thread : {interrupted, closed}) {
    REQUIRE(creel_test::eventually([&] { return thread.state() == creel::ThreadState::Waiting; }));
  }
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  listener.close();
  CHECK(closed.join(20s));
}
