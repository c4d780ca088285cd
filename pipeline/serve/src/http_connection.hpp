#pragma once

#include "http_message.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <atomic>
#include <memory>

namespace creel::pipeline {

namespace net = boost::asio;

/// What the connections of one server share. Replies own it, so that one given after the server has gone is
/// harmless.
struct HttpShared : std::enable_shared_from_this<HttpShared> {
  HttpShared(HttpHandler& the_handler, const HttpLimits& the_limits)
      : handler(the_handler), limits(the_limits) {}

  HttpHandler& handler;
  const HttpLimits limits;
  std::atomic<std::uint32_t> open{0};       ///< connections; drain() waits on it
  std::atomic<std::uint32_t> in_flight{0};  ///< requests handed to the handler and not yet answered
  std::atomic<std::size_t> buffered{0};     ///< bytes of bodies
  std::atomic<bool> draining{false};
  net::io_context io;  ///< last: its end destroys the coroutines, which refer to the members above
};

/// One client: a coroutine that reads, asks the handler and answers, in turn, until one side closes.
/// Everything runs on the socket's strand.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(net::ip::tcp::socket socket, HttpShared& shared);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  net::any_io_executor executor() { return socket_.get_executor(); }

  net::awaitable<void> run();
  /// Says 503 and closes: there are too many connections.
  net::awaitable<void> turn_away();

  /// Ends an idle connection now, another one after its answer. From any thread.
  void drain();
  void deliver(HttpResponse response);

 private:
  enum class Next : std::uint8_t { Continue, Close };
  class BodyBudget;

  net::awaitable<Next> converse();
  net::awaitable<bool> wait_for_bytes();
  net::awaitable<std::optional<HttpResponse>> read_body(HttpParser& parser, BodyBudget& budget);
  net::awaitable<HttpResponse> ask_handler(HttpRequest request);
  net::awaitable<Next> send(HttpResponse response, const HttpParser& parser, bool keep_alive);
  net::awaitable<void> close_gently();
  void limit_time(std::chrono::milliseconds time);
  void end_limit();

  HttpShared& shared_;  ///< owns the coroutine that owns this
  net::ip::tcp::socket socket_;
  net::steady_timer timer_;
  net::steady_timer answered_;  ///< never expires; cancelled when answer_ is there
  boost::beast::flat_buffer buffer_;
  std::optional<HttpResponse> answer_;
  std::uint64_t limit_ = 0;  ///< number of the time limit now running
  bool timed_out_ = false;
  bool idle_ = false;
};

}  // namespace creel::pipeline
