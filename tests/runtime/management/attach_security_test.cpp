// What another user of the machine could lay in the way of the attach socket, and who may ask over it.
#include "management/attach_listener.hpp"

#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <creel_test/child_process.hpp>
#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <creel_test/temporary_folder.hpp>
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>

using creel::attach_execute;
using creel::Diagnostics;
using creel_test::eventually;
using creel_test::Expectations;
using creel_test::run_in_child;

namespace {

constexpr unsigned kNobody = 65534;

std::string socket_path() { return "/tmp/.java_pid" + std::to_string(::getpid()); }

std::string read_whole(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file that nothing of creel may touch.
class Victim {
 public:
  explicit Victim(const std::string& path) : path_(path) {
    std::ofstream(path) << "precious";
    ::chmod(path.c_str(), 0444);
  }
  bool is_as_it_was() const {
    struct stat status {};
    return ::lstat(path_.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           (status.st_mode & 0777) == 0444 && read_whole(path_) == "precious";
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// -1: there is none, or something else is there.
int mode_of_socket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)
             ? static_cast<int>(status.st_mode & 07777)
             : -1;
}

bool answers() { return attach_execute(::getpid(), "jcmd", {"VM.version"}).starts_with("creel "); }

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// What the process that connects reads as answer to a question; its errno's name if it cannot.
std::string ask_raw(const std::string& path) {
  const creel::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno == EACCES ? "EACCES" : "another error";
  }
  static_cast<void>(::send(fd.get(), "1\0properties\0\0\0\0", 16, MSG_NOSIGNAL));
  std::string answer;
  std::array<char, 4096> bytes;
  for (ssize_t size = 0; (size = ::read(fd.get(), bytes.data(), bytes.size())) > 0;)
    answer.append(bytes.data(), static_cast<std::size_t>(size));
  return answer;
}

// SIGQUIT to ourselves; gives what it printed on stderr, "" if the socket came instead.
std::string answer_to_sigquit(const std::string& folder) {
  const std::string path = folder + "/stderr";
  const creel::UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ::dup2(file.get(), STDERR_FILENO);
  ::kill(::getpid(), SIGQUIT);
  std::string text;
  eventually([&] {
    text = read_whole(path);
    return text.find("JNI global refs") != std::string::npos || mode_of_socket(socket_path()) >= 0;
  });
  return text;
}

std::set<std::string> own_sockets() {
  std::set<std::string> inodes;
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat status {};
    if (::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode)) inodes.insert(std::to_string(status.st_ino));
  }
  return inodes;
}

// The lines of a table of /proc/net that speak of one of these sockets.
std::set<std::string> lines_of(const std::string& table, const std::set<std::string>& inodes) {
  std::set<std::string> found;
  std::ifstream file("/proc/net/" + table);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      if (inodes.contains(word)) found.insert(line);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("links in the place of the socket are replaced, and nothing is written through them") {
  if (!creel_test::kChildMayStartThreads) return;
  const creel_test::TemporaryFolder folder;
  const Victim victim{folder / "victim"}, second{folder / "second"};
  CHECK(run_in_child([&](Expectations& expect) {
          const std::string path = socket_path(), temporary = path + ".tmp";
          expect(::symlink(victim.path().c_str(), path.c_str()) == 0, "the link is laid");
          expect(::symlink(second.path().c_str(), temporary.c_str()) == 0, "the other link is laid");
          const Diagnostics diagnostics{{.name = "attacked", .perf_data = false}};
          expect(mode_of_socket(path) == 0600, "the link is replaced by a socket");
          expect(answers(), "who asks gets an answer");
        }) == "");
  CHECK(victim.is_as_it_was());
  CHECK(second.is_as_it_was());
}

TEST_CASE("a socket that a dead process with the same pid left is replaced") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(run_in_child([](Expectations& expect) {
          const creel::UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
          const sockaddr_un address = address_of(socket_path());
          expect(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
                 "bound");
          const Diagnostics diagnostics{{.name = "next with that pid", .perf_data = false}};
          expect(mode_of_socket(socket_path()) == 0600, "its own mode");
          expect(answers(), "who asks gets an answer");
        }) == "");
}

TEST_CASE("where the socket cannot be made the program runs on without") {
  if (!creel_test::kChildMayStartThreads) return;
  const creel_test::TemporaryFolder folder;
  CHECK(run_in_child([&](Expectations& expect) {
          const std::string obstacle = socket_path();
          expect(::mkdir(obstacle.c_str(), 0755) == 0, "the obstacle is made");
          {
            const Diagnostics diagnostics{{.name = "obstructed", .perf_data = false}};
            expect(::access(obstacle.c_str(), F_OK) == 0, "the obstacle, which is not ours, stays");
            expect(answer_to_sigquit(folder.path()).find("\"Signal Dispatcher\" #") != std::string::npos,
                   "SIGQUIT prints a dump");
          }
          expect(::rmdir(obstacle.c_str()) == 0, "it stays to the end");
        }) == "");
}

TEST_CASE("the socket's mode does not depend on the umask") {
  if (!creel_test::kChildMayStartThreads) return;
  for (const mode_t mask : {0000, 0777}) {
    CAPTURE(mask);
    CHECK(run_in_child([mask](Expectations& expect) {
            ::umask(mask);
            const Diagnostics diagnostics{{.name = "masked", .perf_data = false}};
            expect(mode_of_socket(socket_path()) == 0600, "0600");
            expect(answers(), "who asks gets an answer");
          }) == "");
  }
}

TEST_CASE("a link is no request to listen") {
  if (!creel_test::kChildMayStartThreads) return;
  const creel_test::TemporaryFolder folder;
  CHECK(run_in_child([&](Expectations& expect) {
          expect(::chdir(folder.path().c_str()) == 0, "in a folder of its own");
          const Diagnostics diagnostics{{.name = "tricked", .perf_data = false}};
          expect(::unlink(socket_path().c_str()) == 0, "the socket goes");
          const std::string trigger = ".attach_pid" + std::to_string(::getpid());
          std::ofstream("real") << "";
          expect(::symlink("real", trigger.c_str()) == 0, "the link is laid");
          expect(answer_to_sigquit(folder.path()).find("Full thread dump") != std::string::npos, "a dump");
          expect(mode_of_socket(socket_path()) == -1, "no socket");
          ::unlink(trigger.c_str());
          if (::geteuid() != 0) return;
          std::ofstream(trigger) << "";  // a file, but another user's
          expect(::chown(trigger.c_str(), kNobody, kNobody) == 0, "the file is nobody's");
          expect(answer_to_sigquit(folder.path()).find("Full thread dump") != std::string::npos,
                 "a dump again");
          expect(mode_of_socket(socket_path()) == -1, "no socket for another user's file");
        }) == "");
}

TEST_CASE("the client writes through no link to ask for the socket") {
  if (!creel_test::kChildMayStartThreads) return;
  const creel_test::TemporaryFolder folder;
  CHECK(run_in_child([&](Expectations& expect) {
          expect(::chdir(folder.path().c_str()) == 0, "in a folder of its own");
          const Diagnostics diagnostics{{.name = "tricked", .perf_data = false}};
          expect(::unlink(socket_path().c_str()) == 0, "the socket goes");
          const std::string trigger = ".attach_pid" + std::to_string(::getpid());
          const std::string target = folder / "made by the client";
          for (const std::string& path : {trigger, "/tmp/" + trigger})
            expect(::symlink(target.c_str(), path.c_str()) == 0, "the links are laid");
          try {
            attach_execute(::getpid(), "properties");
            expect(false, "the client gives up");
          } catch (const creel::IoError& error) {
            expect(error.error_number() == EEXIST, error.what());
          }
          expect(::access(target.c_str(), F_OK) != 0, "nothing was made where the links lead");
          ::unlink(("/tmp/" + trigger).c_str());
        }) == "");
}

TEST_CASE("the client asks no socket that others may write to, and none of another user") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(run_in_child([](Expectations& expect) {
          const Diagnostics diagnostics{{.name = "open", .perf_data = false}};
          const auto is_refused = [] {
            try {
              attach_execute(::getpid(), "properties");
              return false;
            } catch (const creel::Error& error) {
              return std::string(error.what()).find("is not secure") != std::string::npos;
            }
          };
          for (const mode_t mode : {0606, 0660, 0601}) {
            ::chmod(socket_path().c_str(), mode);
            expect(is_refused(), "a mode of " + std::to_string(mode) + " is refused");
          }
          ::chmod(socket_path().c_str(), 0600);
          expect(answers(), "0600 is good");
          if (::geteuid() != 0) return;
          expect(::chown(socket_path().c_str(), kNobody, kNobody) == 0, "the socket is nobody's");
          expect(is_refused(), "a socket that is not of the user who runs the process");
        }) == "");
}

TEST_CASE("root and the same user in the same group may ask, nobody else") {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  CHECK(creel::detail::may_ask({1, user, group}));
  CHECK(creel::detail::may_ask({1, 0, group + 1}));
  CHECK_FALSE(creel::detail::may_ask({1, user + 1, group}));
  CHECK_FALSE(creel::detail::may_ask({1, user + 1, group + 1}));
  CHECK(creel::detail::may_ask({1, user, group + 1}) == (user == 0));
}

// Two locks on the door: the file's mode, and the peer's user for the moment when the mode does not help.
TEST_CASE("a process of another user gets no answer, also where the file would let it in") {
  if (!creel_test::kChildMayStartThreads) return;
  if (::geteuid() != 0) {  // the file's mode has to do: an unprivileged test has no second user
    const Diagnostics diagnostics{{.name = "asked", .perf_data = false}};
    CHECK(mode_of_socket(socket_path()) == 0600);
    CHECK(ask_raw(socket_path()).starts_with("0\n"));
    return;
  }
  const Diagnostics diagnostics{{.name = "asked", .perf_data = false}};
  const std::string path = socket_path();
  const auto ask_as_nobody = [&] {
    return run_in_child([&](Expectations& expect) {
      expect(creel_test::become_user(kNobody), "nobody");
      expect(false, "answer: " + ask_raw(path));
    });
  };
  CHECK(ask_as_nobody() == "answer: EACCES; ");
  ::chmod(path.c_str(), 0666);
  CHECK(ask_as_nobody() == "answer: ; ");
  CHECK(ask_raw(path).starts_with("0\n"));
}

TEST_CASE("nothing listens on the network, and of Unix sockets one with a file") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(run_in_child([](Expectations& expect) {
          const std::set<std::string> before = own_sockets();
          const Diagnostics diagnostics{{.name = "quiet"}};
          creel::Thread::of_virtual().start([] {}).join();
          expect(answers(), "it is up");
          std::set<std::string> made = own_sockets();
          std::erase_if(made, [&](const std::string& inode) { return before.contains(inode); });
          for (const char* table :
               {"tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "packet", "netlink"}) {
            for (const std::string& line : lines_of(table, made))
              expect(false, std::string(table) + ": " + line);
          }
          const std::set<std::string> local = lines_of("unix", made);
          expect(made.size() == 1 && local.size() == 1, "one socket");
          for (const std::string& line : local)
            expect(line.find(" " + socket_path()) != std::string::npos, "of a file, not abstract: " + line);
        }) == "");
}

// As a service that gave up its privileges: no name, no HOME, no folder of its own, and not to be traced even
// by itself, as under Yama's ptrace_scope.
TEST_CASE("diagnostics work whole for an unprivileged user without a home") {
  if (!creel_test::kChildMayStartThreads) return;
  const creel_test::TemporaryFolder folder;
  ::chmod(folder.path().c_str(), 0777);
  constexpr unsigned kUser = 61'234;
  CHECK(run_in_child([&](Expectations& expect) {
          if (!creel_test::become_user(kUser)) expect(::geteuid() != 0, "we become that user");
          ::unsetenv("HOME");
          expect(::chdir("/") == 0, "in the root folder");
          ::prctl(PR_SET_DUMPABLE, 0);
          const pid_t self = ::getpid();
          const std::string dump = folder / "dump.json";
          {
            const Diagnostics diagnostics{{.name = "service"}};
            expect(mode_of_socket(socket_path()) == 0600, "the socket");
            expect(answers(), "VM.version");
            const std::string text = attach_execute(self, "threaddump");
            expect(text.find("\"Attach Listener\" #") != std::string::npos, "Thread.print");
            expect(text.find("\tat ") != std::string::npos, "stacks");
            expect(attach_execute(self, "jcmd", {"Thread.dump_to_file -format=json " + dump})
                       .starts_with("Created"),
                   "dump_to_file");
            expect(creel::read_counters(self).contains("java.threads.live"), "counters");
            bool is_listed = false;
            for (const creel::PublishedProcess& each : creel::list_processes())
              is_listed |= each.pid == self && each.command == "service";
            expect(is_listed, "creel ps");
            expect(::unlink(socket_path().c_str()) == 0, "the socket goes");
            expect(answers(), "and comes again");
          }
          expect(mode_of_socket(socket_path()) == -1, "nothing is left");
          if (::geteuid() == kUser) ::rmdir(("/tmp/hsperfdata_" + std::to_string(kUser)).c_str());
        }) == "");
  CHECK(read_whole(folder / "dump.json").find("\"threadDump\"") != std::string::npos);
}
