#include "http_connection.hpp"

#include <creel/pipeline/serve/http_server.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <mutex>

namespace creel::pipeline {
namespace {

using boost::system::error_code;
using net::ip::tcp;

std::string to_text(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return (endpoint.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(endpoint.port());
}

}  // namespace

/// Everything behind the handle: the listening socket, the I/O threads and the list of connections.
class HttpServer::Core {
 public:
  Core(const HttpServerOptions& options, HttpHandler& handler)
      : shared_(std::make_shared<HttpShared>(handler, options.limits)), acceptor_(net::make_strand(io())) {
    listen(options);
  }

  ~Core() {
    io().stop();
    for (const Thread& thread : threads_) join(thread);
  }

  void start(int threads) {
    net::co_spawn(acceptor_.get_executor(), accept(), net::detached);
    Thread::Builder builder = Thread::of_platform().name("http-", 0);
    for (int i = 0; i < threads; ++i) threads_.push_back(builder.start([this] { run_io(); }));
  }

  std::uint16_t port() const noexcept { return endpoint_.port(); }
  const std::string& address() const noexcept { return address_; }
  std::size_t connections() const noexcept { return shared_->open; }

  bool drain(Deadline deadline) {
    shared_->draining = true;
    net::post(acceptor_.get_executor(), [this] {
      error_code ignored;
      acceptor_.close(ignored);
    });
    // One pass is enough: a connection that begins to wait for a request after it sees `draining` first.
    for (const auto& connection : live_connections()) connection->drain();
    const Blocker blocker{.object = &shared_->open,
                          .type = "creel::pipeline::HttpServer",
                          .name = "open connections",
                          .owner = nullptr,
                          .kind = WaitKind::External};
    while (const std::uint32_t open = shared_->open) {
      if (deadline.expired()) return false;
      if (LockSupport::wait_on(shared_->open, open, blocker, deadline) == LockSupport::Wake::Interrupted) {
        Thread::interrupted();
        throw InterruptedError("HttpServer::drain");
      }
    }
    return true;
  }

 private:
  net::io_context& io() noexcept { return shared_->io; }

  /// The I/O threads end by io().stop(), whatever interrupts the one that waits for it.
  static void join(const Thread& thread) noexcept {
    while (true) {
      try {
        thread.join();
        return;
      } catch (const InterruptedError&) {
      }
    }
  }

  void listen(const HttpServerOptions& options) {
    const std::string wanted = options.host + ":" + std::to_string(options.port);
    error_code error;
    const auto found = tcp::resolver(io()).resolve(options.host, std::to_string(options.port),
                                                   tcp::resolver::passive, error);
    if (error)
      throw Error("cannot serve at " + wanted + ": " + error.message() + "; give an address of this machine");
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
    if (error == net::error::address_in_use) {
      throw Error(
          "cannot serve at " + wanted + ": the port is in use; give another one with --port, or 0 for any",
          ErrorCode::Io);
    }
    if (error) throw IoError("cannot serve at", wanted, error.value());
    endpoint_ = acceptor_.local_endpoint();
    address_ = to_text(endpoint_);
  }

  net::awaitable<void> accept() {
    net::steady_timer pause(acceptor_.get_executor());
    while (!shared_->draining) {
      error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(net::make_strand(io()),
                                                           net::redirect_error(net::use_awaitable, error));
      if (error == net::error::operation_aborted || error == net::error::bad_descriptor) co_return;
      if (error) {
        // Out of descriptors, mostly: the connection waits in the backlog until others have closed.
        log::warn("http.accept_failed", {{"error", error.message()}});
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
        continue;
      }
      begin(std::move(socket));
    }
  }

  void begin(tcp::socket socket) {
    const bool room = shared_->open < shared_->limits.connections;
    // Refusals are bounded too: past them, the connection is only closed.
    if (!room && shared_->open >= shared_->limits.connections + 64) return;
    const auto connection = std::make_shared<HttpConnection>(std::move(socket), *shared_);
    remember(connection);
    net::co_spawn(
        connection->executor(),
        [connection, room]() -> net::awaitable<void> {
          // Written out: g++ 12 evaluates both operands' temporaries of a co_await inside ?:.
          if (room) {
            co_await connection->run();
          } else {
            co_await connection->turn_away();
          }
        },
        [](std::exception_ptr failure) {
          if (!failure) return;
          try {
            std::rethrow_exception(failure);
          } catch (const std::exception& error) {
            log::error("http.connection_failed", {{"error", error.what()}});
          }
        });
  }

  void remember(const std::shared_ptr<HttpConnection>& connection) {
    const std::lock_guard guard(mutex_);
    if (connections_.size() >= 2 * shared_->open + 16) {
      std::erase_if(connections_, [](const auto& weak) { return weak.expired(); });
    }
    connections_.push_back(connection);
  }

  std::vector<std::shared_ptr<HttpConnection>> live_connections() {
    const std::lock_guard guard(mutex_);
    std::vector<std::shared_ptr<HttpConnection>> live;
    for (const auto& weak : connections_) {
      if (auto connection = weak.lock()) live.push_back(std::move(connection));
    }
    return live;
  }

  /// Runs the connections, with a line in dumps that tells how many there are.
  void run_io() {
    Activity activity("HTTP at " + address_);
    std::size_t open = 0;
    std::size_t in_flight = 0;
    while (io().run_one() > 0) {
      if (shared_->open == open && shared_->in_flight == in_flight) continue;
      open = shared_->open;
      in_flight = shared_->in_flight;
      activity.set("HTTP at " + address_ + ", connections " + std::to_string(open) + ", in flight " +
                   std::to_string(in_flight));
    }
  }

  const std::shared_ptr<HttpShared> shared_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<HttpConnection>> connections_;
  tcp::endpoint endpoint_;
  std::string address_;
  std::vector<Thread> threads_;
  net::executor_work_guard<net::io_context::executor_type> work_{io().get_executor()};
  tcp::acceptor acceptor_;
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler& handler)
    : core_(std::make_unique<Core>(options, handler)) {
  core_->start(options.threads);
}

HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const noexcept { return core_->port(); }
const std::string& HttpServer::address() const noexcept { return core_->address(); }
std::size_t HttpServer::connections() const noexcept { return core_->connections(); }
bool HttpServer::drain(Deadline deadline) { return core_->drain(deadline); }

}  // namespace creel::pipeline
