#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;
using creel::Diagnostics;
using creel::UniqueFd;
using creel_test::eventually;

namespace {

const creel::DiagnosticsOptions kAttachOnly{.name = "fuzzed", .perf_data = false, .sigquit = false};

std::optional<UniqueFd> try_connect() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/tmp/.java_pid" + std::to_string(::getpid());
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::nullopt;
  return fd;
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;  // it has hung up on us, as it may
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

// Up to the end, or until the peer says nothing for `patience`.
std::string receive_all(int fd, std::chrono::milliseconds patience) {
  std::string text;
  std::array<char, 4096> bytes;
  for (;;) {
    pollfd wait{fd, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(patience.count()));
    if (ready < 0 && errno == EINTR) continue;  // a dump that we asked for samples this thread, too
    if (ready <= 0) return text + "<silence>";
    const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (size <= 0) return text;
    text.append(bytes.data(), static_cast<std::size_t>(size));
  }
}

// Sockets, pipes and their like. A dump opens the files of modules whose names it reads, for good.
std::size_t open_files() {
  std::size_t count = 0;
  struct stat status {};
  for (int fd = 0; fd < 1024; ++fd) count += ::fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) ? 1 : 0;
  return count;
}

bool answers() {
  return creel::attach_execute(::getpid(), "jcmd", {"VM.version"}, 60s).starts_with("creel ");
}

// Requests that are almost right.
class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string next() {
    static const std::array<std::string_view, 8> kGood{
        "1\0jcmd\0VM.version\0\0\0"sv,
        "1\0jcmd\0help Thread.print\0\0\0"sv,
        "1\0getversion\0options\0\0\0"sv,
        "1\0properties\0\0\0\0"sv,
        "1\0jcmd\0VM.command_line\0\0\0"sv,
        "2\00033\0jcmd streaming=1\0Thread.print -l\0"sv,
        "2\00028\0jcmd streaming=1\0VM.version\0"sv,
        "2\00024\0threaddump streaming=1\0\0"sv,
    };
    std::string bytes(kGood[pick(kGood.size())]);
    for (std::size_t i = pick(4); i > 0; --i) mutate(bytes);
    return bytes;
  }
  std::size_t pick(std::size_t count) { return random_() % count; }

 private:
  void mutate(std::string& bytes) {
    const std::size_t at = bytes.empty() ? 0 : pick(bytes.size());
    switch (pick(7)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = static_cast<char>(random_());
        break;
      case 2:
        bytes.insert(at, 1, static_cast<char>(random_()));
        break;
      case 3:
        bytes.insert(at, pick(5000), 'x');  // longer than any field may be
        break;
      case 4:
        bytes.insert(at, 1, '\0');
        break;
      case 5:
        if (!bytes.empty()) bytes.erase(at, 1);
        break;
      default:
        bytes += bytes;  // two requests on one connection
    }
  }

  std::mt19937 random_;
};

}  // namespace

TEST_CASE("no request brings the attach listener down, hangs it or costs it a file") {
  const Diagnostics diagnostics{kAttachOnly};
  REQUIRE(creel::attach_execute(::getpid(), "threaddump", {}, 60s).find("main") != std::string::npos);
  const std::size_t files = open_files();
  Mutator mutator(20'261);
  const int rounds = creel_test::kThreadSanitizer ? 300 : 4'000;
  for (int round = 0; round < rounds; ++round) {
    CAPTURE(round);
    const std::string request = mutator.next();
    std::optional<UniqueFd> connection = try_connect();
    REQUIRE(connection);
    if (mutator.pick(3) == 0) {  // in two pieces, or cut off between them
      const std::size_t middle = request.empty() ? 0 : mutator.pick(request.size());
      send_all(connection->get(), std::string_view(request).substr(0, middle));
      if (mutator.pick(2) == 0) continue;
      send_all(connection->get(), std::string_view(request).substr(middle));
    } else {
      send_all(connection->get(), request);
    }
    if (mutator.pick(4) == 0) continue;  // does not wait for the reply
    ::shutdown(connection->get(), SHUT_WR);
    const std::string reply = receive_all(connection->get(), 20s);
    CAPTURE(request);
    CHECK(reply.find("<silence>") == std::string::npos);
    // A status of its own, a refusal, or nothing for a request that was not whole.
    CHECK((reply.empty() || reply.starts_with("0\n") || reply.starts_with("1\n") || reply == "101\n"));
    if (round % 200 == 0) CHECK(answers());
  }
  CHECK(answers());
  CHECK(eventually([&] { return open_files() <= files; }));
}

TEST_CASE("a payload of the largest size is read, a larger one refused before it is sent") {
  const Diagnostics diagnostics{kAttachOnly};
  const std::string argument(200 * 1024, 'x');
  const std::string payload = "jcmd\0"s + argument + '\0';
  std::optional<UniqueFd> largest = try_connect();
  REQUIRE(largest);
  send_all(largest->get(), "2\0"s + std::to_string(payload.size()) + '\0' + payload);
  CHECK(receive_all(largest->get(), 20s).find("Unknown diagnostic command") != std::string::npos);
  std::optional<UniqueFd> larger = try_connect();
  REQUIRE(larger);
  send_all(larger->get(), "2\0999999999\0"sv);
  CHECK(receive_all(larger->get(), 20s).starts_with("1\nThe request is malformed or too long"));
  CHECK(answers());
}

TEST_CASE("many clients at once that say nothing, or a byte now and then, do not keep a good one waiting") {
  const Diagnostics diagnostics{kAttachOnly};
  const std::size_t files = open_files();
  {
    std::vector<UniqueFd> idle;
    for (int i = 0; i < 40; ++i) {
      if (std::optional<UniqueFd> connection = try_connect()) {
        if (i % 2 == 0) send_all(connection->get(), "1"sv);
        idle.push_back(*std::move(connection));
      }
    }
    CHECK(idle.size() == 40);
    CHECK(creel::attach_execute(::getpid(), "jcmd", {"VM.version"}, 5s).starts_with("creel "));
    // The slow ones are served all the same.
    send_all(idle[0].get(), "\0jcmd\0VM.version\0\0\0"sv);
    CHECK(receive_all(idle[0].get(), 20s).starts_with("0\n"));
  }
  CHECK(eventually([&] { return open_files() <= files; }));
}

TEST_CASE("another user is turned away without a word, root is served") {
  if (::geteuid() != 0) return;  // only root can be somebody else
  const passwd* other = ::getpwnam("nobody");
  REQUIRE(other != nullptr);
  const Diagnostics diagnostics{kAttachOnly};
  const std::string path = "/tmp/.java_pid" + std::to_string(::getpid());
  REQUIRE(::chmod(path.c_str(), 0666) == 0);  // else the kernel would turn him away, not we
  const uid_t uid = other->pw_uid;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(uid, uid, uid) != 0) ::_exit(2);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) ::_exit(3);
    constexpr std::string_view kRequest = "1\0properties\0\0\0\0"sv;
    static_cast<void>(::send(fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL));
    std::array<char, 64> bytes;
    ::_exit(::recv(fd, bytes.data(), bytes.size(), 0) > 0 ? 4 : 0);  // an end, or a reset
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
  ::chmod(path.c_str(), 0600);
  CHECK(answers());
}
