#pragma once

#include "attach_request.hpp"
#include "exit_file.hpp"

#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace creel::detail {

/// Whether a process with the credentials of `peer` may ask us: root, or one with our effective user and
/// group.
bool may_ask(const ucred& peer) noexcept;

/// Answers jstack, jcmd and `creel dump` on /tmp/.java_pidPID, as HotSpot's attach listener does: one request
/// to a connection, peers of other users (but root) turned away. Requests are carried out one after the
/// other, but a client that is slow to send its own, or to take its reply, keeps nobody else waiting.
class AttachListener {
 public:
  using Handler = std::function<AttachReply(const AttachRequest&)>;

  /// Binds the socket and starts the thread "Attach Listener". Throws IoError.
  explicit AttachListener(Handler handler);
  /// Stops the thread and removes the socket.
  ~AttachListener();
  AttachListener(const AttachListener&) = delete;
  AttachListener& operator=(const AttachListener&) = delete;

  /// Binds the socket anew if its file is gone: something cleans /tmp.
  void ensure_bound();

  /// In a forked child: closes what it has of the parent's socket.
  void abandon() noexcept;

 private:
  void bind();
  struct Connection;

  void run();
  /// Waits until something is to be done; false once the thread is to end.
  bool wait(int listening, bool& accepts);
  void accept_from(int listening);
  /// Goes on as far as the peer lets it; false once the connection is at its end.
  bool proceed(Connection& connection);
  bool receive(Connection& connection);
  void execute(Connection& connection);

  Handler handler_;
  UniqueFd stop_;     // an eventfd: readable once the thread is to end
  UniqueFd rebound_;  // an eventfd: the listening socket was replaced
  std::mutex lock_;   // guards listening_
  UniqueFd listening_;
  ExitFile file_;
  std::vector<std::unique_ptr<Connection>> connections_;  // the thread's; oldest first
  Thread thread_;
};

}  // namespace creel::detail
