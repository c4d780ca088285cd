#include "http_connection.hpp"

#include <creel/runtime/lock_support.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 takes the operators new and delete of Asio's coroutine frames, inlined unevenly, for a mismatched
// pair.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace creel::pipeline {
namespace {

using boost::system::error_code;

/// Completes a co_await with the error in `error` instead of an exception.
auto into(error_code& error) { return net::redirect_error(net::use_awaitable, error); }

}  // namespace

/// The part of the server's body memory that one request holds.
class HttpConnection::BodyBudget {
 public:
  explicit BodyBudget(HttpShared& shared) noexcept : shared_(shared) {}
  ~BodyBudget() { shared_.buffered -= held_; }
  BodyBudget(const BodyBudget&) = delete;
  BodyBudget& operator=(const BodyBudget&) = delete;

  /// Makes the part `bytes` long; false if the server holds too much already.
  bool grow_to(std::size_t bytes) noexcept {
    if (bytes <= held_) return true;
    const std::size_t more = bytes - held_;
    if ((shared_.buffered += more) > shared_.limits.buffered_bytes) {
      shared_.buffered -= more;
      return false;
    }
    held_ = bytes;
    return true;
  }

 private:
  HttpShared& shared_;
  std::size_t held_ = 0;
};

HttpConnection::HttpConnection(net::ip::tcp::socket socket, HttpShared& shared)
    : shared_(shared),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      answered_(socket_.get_executor(), net::steady_timer::time_point::max()) {
  ++shared_.open;
}

HttpConnection::~HttpConnection() {
  --shared_.open;
  if (shared_.draining) LockSupport::wake(shared_.open, 1);
}

/// Starts the limit of the operations that follow; when it passes, the one in progress is cancelled and
/// timed_out_ set.
void HttpConnection::limit_time(std::chrono::milliseconds time) {
  timed_out_ = false;
  timer_.expires_after(time);
  timer_.async_wait([weak = weak_from_this(), limit = ++limit_](const error_code& error) {
    const auto self = weak.lock();
    // A handler that was queued when its limit was replaced comes without an error: the number tells.
    if (error || !self || self->limit_ != limit) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void HttpConnection::end_limit() {
  ++limit_;
  timer_.cancel();
}

net::awaitable<void> HttpConnection::run() {
  error_code ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);  // an answer is one write: nothing to gather
  while (co_await converse() == Next::Continue) {
  }
  end_limit();
}

net::awaitable<void> HttpConnection::turn_away() {
  const HttpParser none;
  co_await send(error_response(503, "too many connections; try again"), none, false);
  co_await close_gently();
  end_limit();
}

/// One request and its answer.
net::awaitable<HttpConnection::Next> HttpConnection::converse() {
  if (!co_await wait_for_bytes()) co_return Next::Close;
  HttpParser parser;
  parser.header_limit(static_cast<std::uint32_t>(shared_.limits.header_bytes));
  parser.body_limit(shared_.limits.body_bytes);

  limit_time(shared_.limits.header_time);
  error_code error;
  co_await http::async_read_header(socket_, buffer_, parser, into(error));
  std::optional<HttpResponse> refusal;
  if (timed_out_) {
    refusal = error_response(408, "the header did not come in time");
  } else if (error) {
    refusal = parse_refusal(error, shared_.limits);
    if (!refusal) co_return Next::Close;
  } else {
    refusal = check_header(parser);
  }
  // Past such a header nobody knows where the next request begins.
  bool whole = !refusal && parser.is_done();
  HttpRequest request = to_request(parser);
  if (!refusal) refusal = shared_.handler.refuse(request);

  BodyBudget budget(shared_);
  if (!refusal && !whole) {
    refusal = co_await read_body(parser, budget);
    whole = !refusal;
    if (refusal && refusal->status == 0) co_return Next::Close;
  }
  if (refusal) {
    const Next next = co_await send(std::move(*refusal), parser, whole && parser.keep_alive());
    if (!whole) co_await close_gently();
    co_return next;
  }
  const bool keep_alive = parser.keep_alive();
  request.body = std::move(parser.get().body());
  HttpResponse answer = co_await ask_handler(std::move(request));
  co_return co_await send(std::move(answer), parser, keep_alive);
}

/// Waits for the next request to begin. False: the client went, stayed idle too long, or the server drains.
net::awaitable<bool> HttpConnection::wait_for_bytes() {
  if (buffer_.size() > 0) co_return true;
  if (shared_.draining) co_return false;
  idle_ = true;
  limit_time(shared_.limits.idle_time);
  error_code error;
  const std::size_t count = co_await socket_.async_read_some(buffer_.prepare(8 << 10), into(error));
  buffer_.commit(count);
  idle_ = false;
  co_return !error;
}

/// Reads the body into the parser. Returns the refusal if it cannot be had, of status 0 if nobody is there to
/// hear it.
net::awaitable<std::optional<HttpResponse>> HttpConnection::read_body(HttpParser& parser,
                                                                      BodyBudget& budget) {
  const auto full = [] { return error_response(503, "too many large requests at once; try again"); };
  const std::size_t announced = parser.content_length().value_or(0);
  if (!budget.grow_to(announced)) co_return full();
  error_code error;
  limit_time(shared_.limits.body_time);
  if (expects_continue(parser) && buffer_.size() == 0) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await net::async_write(socket_, net::buffer(kContinue), into(error));
  }
  while (!error && !timed_out_ && !parser.is_done()) {
    co_await http::async_read_some(socket_, buffer_, parser, into(error));
    if (!budget.grow_to(parser.get().body().size())) co_return full();
  }
  if (timed_out_) co_return error_response(408, "the body did not come in time");
  if (!error) co_return std::nullopt;
  co_return parse_refusal(error, shared_.limits).value_or(HttpResponse{.status = 0});
}

class HttpReply::State {
 public:
  State(std::shared_ptr<HttpShared> shared, std::weak_ptr<HttpConnection> connection)
      : shared_(std::move(shared)), connection_(std::move(connection)) {
    ++shared_->in_flight;
  }
  ~State() {
    if (!answered_) answer(error_response(500, "the request was dropped without an answer"));
  }

  void answer(HttpResponse response) {
    if (answered_.exchange(true)) return;
    --shared_->in_flight;
    if (const auto connection = connection_.lock()) connection->deliver(std::move(response));
  }

 private:
  const std::shared_ptr<HttpShared> shared_;
  const std::weak_ptr<HttpConnection> connection_;
  std::atomic<bool> answered_{false};
};

void HttpReply::operator()(HttpResponse response) const { state_->answer(std::move(response)); }

void HttpConnection::deliver(HttpResponse response) {
  net::post(socket_.get_executor(), [self = shared_from_this(), response = std::move(response)]() mutable {
    self->answer_ = std::move(response);
    self->answered_.cancel();
  });
}

net::awaitable<HttpResponse> HttpConnection::ask_handler(HttpRequest request) {
  end_limit();  // how long an answer takes is the handler's to bound
  answer_.reset();
  shared_.handler.handle(std::move(request), HttpReply(std::make_shared<HttpReply::State>(
                                                 shared_.shared_from_this(), weak_from_this())));
  while (!answer_) {
    error_code cancelled;
    co_await answered_.async_wait(into(cancelled));
  }
  co_return std::move(*answer_);
}

net::awaitable<HttpConnection::Next> HttpConnection::send(HttpResponse response, const HttpParser& parser,
                                                          bool keep_alive) {
  const auto& request = parser.get();
  keep_alive = keep_alive && !shared_.draining;
  const bool head = request.method() == http::verb::head;
  const unsigned version = request.version() == 10 ? 10 : 11;
  const auto message = to_message(std::move(response), version, keep_alive, head);
  error_code error;
  limit_time(shared_.limits.write_time);
  if (head) {
    http::response_serializer<http::string_body> serializer{message};
    co_await http::async_write_header(socket_, serializer, into(error));
  } else {
    co_await http::async_write(socket_, message, into(error));
  }
  co_return !error && keep_alive ? Next::Continue : Next::Close;
}

/// Lets the client read the refusal before the connection goes: closing with its bytes unread would send a
/// reset, which can overtake the answer. Reads on for 2 s at most.
net::awaitable<void> HttpConnection::close_gently() {
  error_code error;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, error);
  limit_time(std::chrono::seconds(2));
  buffer_.clear();
  while (!error && !timed_out_) {
    co_await socket_.async_read_some(buffer_.prepare(64 << 10), into(error));
  }
}

void HttpConnection::drain() {
  net::post(socket_.get_executor(), [self = shared_from_this()] {
    error_code ignored;
    if (self->idle_) self->socket_.cancel(ignored);
  });
}

}  // namespace creel::pipeline
