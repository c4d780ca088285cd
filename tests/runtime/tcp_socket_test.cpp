#include "creel_test/eventually.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/tcp_listener.hpp>
#include <creel/runtime/tcp_socket.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <string>

using namespace std::chrono_literals;
using creel::TcpListener;
using creel::TcpSocket;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;

namespace {

struct Connection {
  TcpListener listener{"127.0.0.1", 0};
  TcpSocket client = TcpSocket::connect("127.0.0.1", listener.port(), 20s);
  TcpSocket server = listener.accept(20s).value();
};

int error_of(auto call) {
  try {
    call();
  } catch (const creel::IoError& error) {
    return error.error_number();
  }
  return 0;
}

}  // namespace

TEST_CASE("a connection carries bytes both ways and knows both addresses") {
  Connection pair;
  pair.client.set_no_delay(true);
  pair.client.set_keep_alive(60s, 10s, 3);
  pair.client.set_send_buffer_size(65536);
  pair.server.set_receive_buffer_size(65536);
  CHECK(to_string(pair.client.peer_address()) == "127.0.0.1:" + std::to_string(pair.listener.port()));
  CHECK(pair.client.local_address() == pair.server.peer_address());
  CHECK(pair.client.name() == to_string(pair.client.peer_address()));
  pair.client.write_all("ping");
  std::array<std::byte, 4> four;
  CHECK(pair.server.read_n_bytes(four) == 4);
  pair.server.write_all("pong");
  CHECK(pair.client.read_n_bytes(four) == 4);
}

TEST_CASE("after half a close the other half goes on") {
  Connection pair;
  Thread server = Thread::of_virtual().start([&] {
    const std::string all = pair.server.read_all_bytes();  // ends by shutdown_output()
    pair.server.write_all("got " + std::to_string(all.size()));
    pair.server.close();
  });
  pair.client.write_all(std::string(100'000, 'x'));
  pair.client.shutdown_output();
  CHECK(pair.client.read_all_bytes() == "got 100000");
  CHECK(error_of([&] { pair.client.write_all("more"); }) == EPIPE);
  server.join();
}

TEST_CASE("a reset by the peer is an error that names it") {
  Connection pair;
  Thread reader = Thread::of_virtual().start([&] {
    try {
      pair.server.read_all_bytes();
      FAIL("a reset looked like an end");
    } catch (const creel::IoError& error) {
      CHECK(error.error_number() == ECONNRESET);
      CHECK(std::string(error.what()).find(to_string(pair.server.peer_address())) != std::string::npos);
    }
  });
  REQUIRE(eventually([&] { return reader.state() == ThreadState::Waiting; }));
  pair.client.set_linger(0s);
  pair.client.close();
  CHECK(reader.join(20s));
}

TEST_CASE("one thread reads while another writes the same socket") {
  Connection pair;
  const std::string text(2'000'000, 'x');
  Thread echo = Thread::of_virtual().start([&] {
    pair.server.transfer_to(pair.server);
    pair.server.close();
  });
  Thread writer = Thread::of_virtual().start([&] {
    pair.client.write_all(text);
    pair.client.shutdown_output();
  });
  CHECK(pair.client.read_all_bytes(60s) == text);
  writer.join();
  echo.join();
}

TEST_CASE("nobody listens: refused, with the name asked for and the address tried") {
  std::uint16_t port = 0;
  { port = TcpListener("127.0.0.1", 0).port(); }
  try {
    TcpSocket::connect("localhost", port, 20s);
    FAIL("connected to nobody");
  } catch (const creel::IoError& error) {
    CHECK(error.error_number() == ECONNREFUSED);
    const std::string message = error.what();
    CHECK(message.find("connect to localhost:" + std::to_string(port)) != std::string::npos);
    CHECK(message.find(":" + std::to_string(port) + ": Connection refused") != std::string::npos);
  }
}

TEST_CASE("a name is looked up, and one that does not exist is an error") {
  TcpListener listener("localhost", 0);
  TcpSocket client = TcpSocket::connect("localhost", listener.port(), 20s);
  CHECK(listener.accept(20s));
  CHECK_THROWS_AS(TcpSocket::connect("no-such-host.invalid", 80, 20s), creel::Error);
}

TEST_CASE("connecting answers deadline and interrupt") {
  // A listener whose queue is full answers nobody.
  TcpListener listener("127.0.0.1", 0, {.backlog = 0});
  std::vector<TcpSocket> taken;
  const auto fill = [&] {
    for (;;) taken.push_back(TcpSocket::connect("127.0.0.1", listener.port(), 50ms));
  };
  CHECK_THROWS_AS(fill(), creel::TimeoutError);
  Thread waiting = Thread::of_virtual().start(
      [&] { CHECK_THROWS_AS(TcpSocket::connect("127.0.0.1", listener.port()), creel::InterruptedError); });
  REQUIRE(eventually([&] { return waiting.state() == ThreadState::Waiting; }));
  waiting.interrupt();
  CHECK(waiting.join(20s));
}

TEST_CASE("IPv6 addresses are printed with brackets") {
  CHECK(to_string(creel::SocketAddress{"::1", 5000}) == "[::1]:5000");
  std::unique_ptr<TcpListener> listener;
  try {
    listener = std::make_unique<TcpListener>("::1", 0);
  } catch (const creel::IoError&) {
    return;  // a machine without IPv6
  }
  TcpSocket client = TcpSocket::connect("::1", listener->port(), 20s);
  CHECK(to_string(client.peer_address()) == "[::1]:" + std::to_string(listener->port()));
}
