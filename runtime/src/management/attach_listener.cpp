#include "attach_listener.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <exception>
#include <utility>

namespace creel::detail {
namespace {

using namespace std::chrono_literals;

// A client that has connected has this long to send its request, and to take each piece of the reply.
constexpr auto kPatience = 10s;
// Beyond, the oldest one is let go: it has had its time.
constexpr std::size_t kMostConnections = 64;
constexpr std::string_view kBadVersion = "101\n";

bool peer_may_ask(int connection) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && may_ask(peer);
}

std::string socket_path() { return "/tmp/.java_pid" + std::to_string(::getpid()); }

}  // namespace

bool may_ask(const ucred& peer) noexcept {
  return peer.uid == 0 || (peer.uid == ::geteuid() && peer.gid == ::getegid());
}

struct AttachListener::Connection {
  UniqueFd fd;
  AttachRequestParser parser;
  Deadline deadline = kPatience;
  bool is_ready = false;
  bool replies = false;  // the request is whole; what is left of `head` and `reply` is still to go
  std::string head;      // the status line
  std::string reply;
  std::size_t sent = 0;
};

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
                    ::listen(fd.get(), 64) == 0 && ::chmod(temporary.c_str(), 0600) == 0 &&
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
  const bool is_there = ::lstat(file_.path().c_str(), &status) == 0;
  if (is_there && S_ISSOCK(status.st_mode) && status.st_uid == ::geteuid()) return;
  bind();
  ::eventfd_write(rebound_.get(), 1);
}

void AttachListener::abandon() noexcept { listening_.reset(); }

bool AttachListener::wait(int listening, bool& accepts) {
  std::vector<pollfd> waits{{stop_.get(), POLLIN, 0}, {rebound_.get(), POLLIN, 0}, {listening, POLLIN, 0}};
  int timeout = -1;
  for (const auto& each : connections_) {
    waits.push_back({each->fd.get(), static_cast<short>(each->replies ? POLLOUT : POLLIN), 0});
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(each->deadline.remaining()).count();
    timeout = timeout < 0 ? static_cast<int>(left) : std::min(timeout, static_cast<int>(left));
  }
  if (::poll(waits.data(), waits.size(), timeout) < 0) return errno == EINTR;
  if (waits[0].revents != 0) return false;
  eventfd_t ignored = 0;
  if (waits[1].revents != 0) ::eventfd_read(rebound_.get(), &ignored);
  accepts = waits[2].revents != 0;
  for (std::size_t i = 0; i < connections_.size(); ++i) connections_[i]->is_ready = waits[i + 3].revents != 0;
  return true;
}

void AttachListener::run() {
  for (;;) {
    int listening = -1;
    {
      const std::lock_guard guard{lock_};
      listening = listening_.get();
    }
    bool accepts = false;
    if (!wait(listening, accepts)) return;
    std::erase_if(connections_, [this](const auto& each) {
      return each->is_ready ? !proceed(*each) : each->deadline.expired();
    });
    if (accepts) accept_from(listening);
  }
}

void AttachListener::accept_from(int listening) {
  UniqueFd fd(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {  // it has gone, or the socket was replaced
    if (errno != EMFILE && errno != ENFILE) return;
    if (!connections_.empty()) connections_.erase(connections_.begin());  // makes room for the next try
    const timespec pause{0, 10'000'000};  // it stays in the queue: without a pause this would be a busy loop
    ::nanosleep(&pause, nullptr);
    return;
  }
  if (!peer_may_ask(fd.get())) {
    log::warn("attach.refused", {{"reason", "the peer is another user"}});
    return;
  }
  if (connections_.size() >= kMostConnections) connections_.erase(connections_.begin());
  auto connection = std::make_unique<Connection>();
  connection->fd = std::move(fd);
  if (proceed(*connection)) connections_.push_back(std::move(connection));
}

bool AttachListener::proceed(Connection& connection) {
  if (!connection.replies && !receive(connection)) return false;
  const std::size_t head = connection.head.size();
  while (connection.replies && connection.sent < head + connection.reply.size()) {
    const std::string_view left = connection.sent < head
                                      ? std::string_view(connection.head).substr(connection.sent)
                                      : std::string_view(connection.reply).substr(connection.sent - head);
    const ssize_t sent = ::send(connection.fd.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    connection.sent += static_cast<std::size_t>(sent);
    connection.deadline = kPatience;
  }
  return !connection.replies;
}

// Until the request is whole, which leaves the reply to be sent, or there is nothing more to read for now.
bool AttachListener::receive(Connection& connection) {
  std::array<char, 16 * 1024> bytes;
  for (;;) {
    const ssize_t size = ::recv(connection.fd.get(), bytes.data(), bytes.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return errno == EAGAIN;
    if (size == 0) return false;  // a JDK 17 client connects once just to see whether it can
    switch (connection.parser.feed({bytes.data(), static_cast<std::size_t>(size)})) {
      case AttachRequestParser::State::Incomplete:
        continue;
      case AttachRequestParser::State::Complete:
        execute(connection);
        break;
      case AttachRequestParser::State::BadVersion:
        connection.reply = kBadVersion;
        break;
      case AttachRequestParser::State::Malformed:
        connection.reply = "1\nThe request is malformed or too long\n";
        break;
    }
    connection.replies = true;
    connection.deadline = kPatience;
    return true;
  }
}

void AttachListener::execute(Connection& connection) {
  const AttachRequest& request = connection.parser.request();
  const Activity activity{"executing " + request.command};
  AttachReply reply;
  try {
    reply = handler_(request);
  } catch (const std::exception& error) {
    reply = {1, std::string(error.what()) + "\n"};
  }
  connection.head = std::to_string(reply.status) + "\n";
  connection.reply = std::move(reply.text);
}

}  // namespace creel::detail
