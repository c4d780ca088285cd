#include "creel_test/eventually.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/tcp_listener.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::TcpListener;
using creel::TcpSocket;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;

TEST_CASE("a loop over a listener ends when it closes") {
  TcpListener listener("127.0.0.1", 0);
  std::atomic<int> served{0};
  Thread server = Thread::of_virtual().start([&] {
    for (TcpSocket& client : listener) {
      Thread::of_virtual().start([&, client = std::make_shared<TcpSocket>(std::move(client))] {
        client->transfer_to(*client);
        ++served;
      });
    }
  });
  for (int i = 0; i < 20; ++i) {
    TcpSocket client = TcpSocket::connect("127.0.0.1", listener.port(), 20s);
    client.write_all("echo");
    client.shutdown_output();
    CHECK(client.read_all_bytes(20s) == "echo");
  }
  CHECK(eventually([&] { return served == 20; }));
  listener.close();
  CHECK(server.join(20s));
  CHECK(listener.is_closed());
}

TEST_CASE("accept answers deadline, interrupt and close, for all who wait") {
  TcpListener listener("127.0.0.1", 0);
  CHECK_FALSE(listener.accept(2ms));
  std::vector<Thread> threads;
  std::atomic<int> ended{0};
  for (int i = 0; i < 6; ++i) {
    auto kind = i % 2 == 0 ? Thread::of_virtual() : Thread::of_platform();
    threads.push_back(kind.start([&] {
      if (!listener.accept()) ++ended;
    }));
  }
  Thread interrupted =
      Thread::of_virtual().start([&] { CHECK_THROWS_AS(listener.accept(), creel::InterruptedError); });
  REQUIRE(eventually([&] { return interrupted.state() == ThreadState::Waiting; }));
  for (const Thread& thread : threads) {
    REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  }
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  listener.close();
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(ended == 6);
}

TEST_CASE("several threads share the connections, each goes to one") {
  TcpListener listener("127.0.0.1", 0);
  std::atomic<int> taken{0};
  std::vector<Thread> acceptors;
  for (int i = 0; i < 4; ++i) {
    acceptors.push_back(Thread::of_virtual().start([&] {
      for (TcpSocket& client : listener) {
        client.write_all("x");
        ++taken;
      }
    }));
  }
  std::vector<TcpSocket> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(TcpSocket::connect("127.0.0.1", listener.port(), 20s));
  for (TcpSocket& client : clients) CHECK(client.read_all_bytes(20s) == "x");
  CHECK(taken == 100);
  listener.close();
  for (const Thread& thread : acceptors) CHECK(thread.join(20s));
}

TEST_CASE("a port that is taken is an error that names it") {
  TcpListener listener("127.0.0.1", 0);
  try {
    const TcpListener second("127.0.0.1", listener.port());
    FAIL("one port, two listeners");
  } catch (const creel::IoError& error) {
    CHECK(error.error_number() == EADDRINUSE);
    CHECK(std::string(error.what()).find("127.0.0.1:" + std::to_string(listener.port())) !=
          std::string::npos);
  }
  const TcpListener shared("127.0.0.1", 0, {.reuse_port = true});
  CHECK_NOTHROW(TcpListener("127.0.0.1", shared.port(), {.reuse_port = true}));
}

TEST_CASE("without a descriptor for it a connection stays in the queue") {
  TcpListener listener("127.0.0.1", 0);
  TcpSocket client = TcpSocket::connect("127.0.0.1", listener.port(), 20s);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::vector<creel::UniqueFd> all;
  {
    // As many as the process may have from now on: the lowest number that is free, and none more.
    creel::UniqueFd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit none{static_cast<rlim_t>(probe.get()), before.rlim_max};
    probe.reset();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  }
  int error_number = 0;
  try {
    listener.accept(20s);
  } catch (const creel::IoError& error) {
    error_number = error.error_number();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(error_number == EMFILE);
  CHECK(listener.accept(20s));
}
