#include "attach_listener.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>

namespace creel::detail {
namespace {

using namespace std::chrono_literals;

// A client that has connected has this long to send its request, and to take each piece of the reply.
constexpr auto kPatience = 10s;
constexpr std::string_view kBadVersion = "101\n";

bool may_ask(int connection) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || (peer.uid == ::geteuid() && peer.gid == ::getegid());
}

std::string socket_path() { return "/tmp/.java_pid" + std::to_string(::getpid()); }

}  // namespace

AttachListener::AttachListener(Handler handler)
    : handler_(std::move(handler)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      rebound_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_ || !rebound_) throw IoError("make an eventfd for the attach listener", "", errno);
  bind();
  thread_ = Thread::of_platform().name("Attach Listener").daemon().start([this] { run(); });
}

AttachListener::~AttachListener() {
  file_.remove();
  ::eventfd_write(stop_.get(), 1);
  while (thread_.is_alive()) {
    try {
      thread_.join();
    } catch (const InterruptedError&) {  // the thread uses what is destroyed here: it has to end first
    }
  }
}

void AttachListener::bind() {
  // A client must never see a socket that does not listen yet or has the wrong mode: it is made under another
  // name.
  const std::string path = socket_path();
  const std::string temporary = path + ".tmp";
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw IoError("make the attach socket", path, errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, temporary.c_str(), temporary.size() + 1);
  file_.remove();
  ::unlink(temporary.c_str());
  ::fchmod(fd.get(), 0600);  // of the file that bind makes: closes the moment before chmod
  const bool made = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                    ::listen(fd.get(), 5) == 0 && ::chmod(temporary.c_str(), 0600) == 0 &&
                    ::lchown(temporary.c_str(), ::geteuid(), ::getegid()) == 0 &&
                    ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!made) {
    const int error = errno;
    ::unlink(temporary.c_str());
    throw IoError("make the attach socket", path, error);
  }
  file_.set(path);
  const std::lock_guard guard{lock_};
  listening_ = std::move(fd);
}

void AttachListener::ensure_bound() {
  struct stat status {};
  if (::lstat(file_.path().c_str(), &status) == 0) return;
  bind();
  ::eventfd_write(rebound_.get(), 1);
}

void AttachListener::abandon() noexcept { listening_.reset(); }

void AttachListener::run() {
  for (;;) {
    int listening = -1;
    {
      const std::lock_guard guard{lock_};
      listening = listening_.get();
    }
    std::array<pollfd, 3> waits{
        {{listening, POLLIN, 0}, {stop_.get(), POLLIN, 0}, {rebound_.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return;
    if (waits[1].revents != 0) return;
    eventfd_t ignored = 0;
    if (waits[2].revents != 0) ::eventfd_read(rebound_.get(), &ignored);
    if (waits[0].revents == 0) continue;
    const UniqueFd connection(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection) continue;  // it has gone, or the socket was replaced
    if (!may_ask(connection.get())) {
      log::warn("attach.refused", {{"reason", "the peer is another user"}});
      continue;
    }
    serve(connection.get());
  }
}

void AttachListener::serve(int connection) {
  const Activity activity{"reading a request"};
  const Deadline deadline = kPatience;
  AttachRequestParser parser;
  AttachRequestParser::State state = AttachRequestParser::State::Incomplete;
  while (state == AttachRequestParser::State::Incomplete) {
    if (!wait_ready(connection, POLLIN, stop_.get(), deadline)) return;
    std::array<char, 4096> bytes;
    const ssize_t size = ::recv(connection, bytes.data(), bytes.size(), 0);
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (size <= 0) return;  // a JDK 17 client connects once just to see whether it can
    state = parser.feed({bytes.data(), static_cast<std::size_t>(size)});
  }
  if (state == AttachRequestParser::State::BadVersion) {
    write_all(connection, kBadVersion, stop_.get(), deadline);
    return;
  }
  AttachReply reply{1, "The request is malformed or too long\n"};
  if (state == AttachRequestParser::State::Complete) {
    try {
      reply = handler_(parser.request());
    } catch (const std::exception& error) {
      reply = {1, std::string(error.what()) + "\n"};
    }
  }
  write_all(connection, std::to_string(reply.status) + "\n", stop_.get(), kPatience) &&
      write_all(connection, reply.text, stop_.get(), kPatience);
}

}  // namespace creel::detail
