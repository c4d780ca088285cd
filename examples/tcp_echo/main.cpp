// A TCP echo server with a virtual thread for each connection: straight code that blocks, on a few carriers.
//
//   tcp_echo 7777                      serves until it gets SIGTERM or Ctrl-C; try `nc 127.0.0.1 7777`
//   tcp_echo --connections 10000       serves itself: that many clients at once, 3 messages each
//
// The second prints, the numbers differing (a connection needs two descriptors: `ulimit -n`),
//
//   10000 connections at once, 30000 messages echoed in 0.66 s: 45454 a second
//
// and a dump of the first (`creel dump PID`, or jstack) has, for a client that says nothing,
//
//   "client 127.0.0.1:43210" #25 virtual … waiting on condition
//      java.lang.Thread.State: WAITING (parking)
//         at creel::FdStream::read(…)
//         - parking to wait for  <0x00007f0e4c0013c8> (a creel::TcpSocket "data from 127.0.0.1:43210")

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/tcp_listener.hpp>
#include <creel/runtime/tcp_socket.hpp>
#include <creel/runtime/thread.hpp>

#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using creel::TcpListener;
using creel::TcpSocket;
using creel::Thread;

constexpr int kMessages = 3;
constexpr std::string_view kMessage = "are you still there?";

void serve(TcpListener& listener) {
  for (TcpSocket& client : listener) {
    const std::string name = "client " + to_string(client.peer_address());
    Thread::of_virtual().name(name).start([socket = std::move(client)]() mutable {
      try {
        socket.transfer_to(socket);
      } catch (const creel::IoError& error) {
        std::fprintf(stderr, "%s\n", error.what());  // the client has gone
      }
    });
  }
}

// One client: connects, waits until all have, talks.
void talk(std::uint16_t port, creel::CountDownLatch& connected) {
  TcpSocket socket = TcpSocket::connect("127.0.0.1", port, 60s);
  socket.set_no_delay(true);
  connected.count_down();
  connected.await();
  std::array<std::byte, kMessage.size()> answer;
  for (int i = 0; i < kMessages; ++i) {
    socket.write_all(kMessage);
    if (socket.read_n_bytes(answer, 60s) != answer.size()) throw creel::Error("the server hung up");
  }
}

int test_itself(int connections) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);

  TcpListener listener("127.0.0.1", 0);
  const Thread server = Thread::of_virtual().name("accept").start([&] { serve(listener); });
  creel::CountDownLatch connected(static_cast<std::uint64_t>(connections));
  std::atomic<int> failed{0};
  std::vector<Thread> clients;
  auto builder = Thread::of_virtual().name("talker-", 0);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < connections; ++i) {
    clients.push_back(builder.start([&] {
      try {
        talk(listener.port(), connected);
      } catch (const std::exception& error) {
        if (failed++ == 0) std::fprintf(stderr, "%s\n", error.what());
        connected.count_down();
      }
    }));
  }
  for (const Thread& client : clients) client.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  listener.close();
  server.join();
  if (failed != 0) {
    std::fprintf(stderr, "%d of %d clients failed\n", failed.load(), connections);
    return 1;
  }
  const int messages = connections * kMessages;
  std::printf("%d connections at once, %d messages echoed in %.2f s: %.0f a second\n", connections, messages,
              took.count(), messages / took.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--connections" && argc > 2) return test_itself(std::atoi(argv[2]));
  const creel::Diagnostics diagnostics{{.name = "tcp_echo", .arguments = {argv + 1, argv + argc}}};
  try {
    TcpListener listener("127.0.0.1",
                         static_cast<std::uint16_t>(std::atoi(first.empty() ? "7777" : argv[1])));
    std::printf("echo at %s\n", to_string(listener.local_address()).c_str());
    std::fflush(stdout);
    serve(listener);
  } catch (const creel::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return creel::exit_code(error.code());
  }
}
