#pragma once

#include <creel/runtime/deadline.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace creel::pipeline {

/// What a request is refused for before anyone computes on it. Times run over the whole of what they limit,
/// so that a client that sends a byte now and then is not served longer.
struct HttpLimits {
  std::size_t header_bytes = 16 << 10;                ///< 431
  std::size_t body_bytes = 64 << 20;                  ///< 413, at once where Content-Length says so
  std::size_t buffered_bytes = std::size_t{1} << 30;  ///< bodies of all connections together: 503
  std::size_t connections = 1024;                     ///< open at once; one more gets 503 and is closed
  std::chrono::milliseconds header_time{10'000};      ///< from the first byte to the end of the header: 408
  std::chrono::milliseconds body_time{60'000};        ///< 408
  std::chrono::milliseconds idle_time{75'000};        ///< between two requests: closed without a word
  std::chrono::milliseconds write_time{60'000};       ///< for an answer to be taken: closed
};

struct HttpRequest {
  std::string method;            ///< GET, POST, …
  std::string target;            ///< as sent, query included: /v2/models/m?x=1
  std::string content_type;      ///< empty if there is none
  std::string content_encoding;  ///< empty if there is none
  std::string body;
};

struct HttpResponse {
  unsigned status = 200;
  std::string body = {};
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};  ///< further ones; free of CR and LF
};

/// The right to answer one request, once, from any thread. Copies share it; if the last one goes without an
/// answer, the client gets 500. An answer that comes after the connection has gone is dropped.
class HttpReply {
 public:
  class State;
  explicit HttpReply(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  void operator()(HttpResponse response) const;

 private:
  std::shared_ptr<State> state_;
};

/// What the server asks about requests. Called by its I/O threads: neither may block or compute for long.
class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  /// Sees a request without its body; an answer refuses it, and the body is then not read.
  virtual std::optional<HttpResponse> refuse(const HttpRequest& head) = 0;
  /// Answers `request` through `reply`, now or later.
  virtual void handle(HttpRequest request, HttpReply reply) = 0;
};

struct HttpServerOptions {
  std::string host = "127.0.0.1";  ///< an address, or a name that resolves to one
  std::uint16_t port = 0;          ///< 0 picks a free one
  int threads = 1;                 ///< I/O threads, http-0 …
  HttpLimits limits = {};
};

/// An HTTP/1.1 server: keep-alive, pipelining, chunked bodies, HEAD, Expect: 100-continue, and an answer in
/// the 4xx for everything that is not HTTP. Each connection is a coroutine on the I/O threads; what takes
/// long is the handler's, on threads of its own.
///
///     HttpServer server{{.port = 8080}, handler};
///     server.drain(10s);
///
/// Source: RFC 9110, RFC 9112.
class HttpServer {
 public:
  /// Binds, listens and starts the I/O threads. Throws IoError that names the address if it cannot be had.
  /// `handler` must live as long as the server.
  HttpServer(HttpServerOptions options, HttpHandler& handler);
  /// Cuts what is still open.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const noexcept;
  /// "127.0.0.1:8080", "[::1]:8080".
  const std::string& address() const noexcept;
  /// Connections now open.
  std::size_t connections() const noexcept;

  /// Stops accepting, lets idle connections go, answers the requests in flight and closes after each. Returns
  /// true when all connections are closed, false if `deadline` passes first. May be called again. Throws
  /// InterruptedError.
  bool drain(Deadline deadline);

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace creel::pipeline
