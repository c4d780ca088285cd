#pragma once

#include "attach_request.hpp"
#include "exit_file.hpp"

#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <functional>
#include <mutex>

namespace creel::detail {

/// Answers jstack, jcmd and `creel dump` on /tmp/.java_pidPID, as HotSpot's attach listener does: one request
/// to a connection, one connection at a time, peers of other users (but root) turned away.
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
  void run();
  void serve(int connection);

  Handler handler_;
  UniqueFd stop_;     // an eventfd: readable once the thread is to end
  UniqueFd rebound_;  // an eventfd: the listening socket was replaced
  std::mutex lock_;   // guards listening_
  UniqueFd listening_;
  ExitFile file_;
  Thread thread_;
};

}  // namespace creel::detail
