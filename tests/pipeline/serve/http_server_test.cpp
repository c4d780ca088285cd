#include "http_client.hpp"

#include <creel/pipeline/serve/http_server.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace creel::pipeline;
using namespace std::chrono_literals;
using creel_test::HttpAnswer;
using creel_test::HttpClient;

namespace {

/// Echoes; keeps the replies of /later until they are asked for; drops those of /drop.
class EchoHandler final : public HttpHandler {
 public:
  std::optional<HttpResponse> refuse(const HttpRequest& head) override {
    if (head.target.starts_with("/refused")) return HttpResponse{.status = 404, .body = "no"};
    return std::nullopt;
  }

  void handle(HttpRequest request, HttpReply reply) override {
    if (request.target == "/later") {
      const std::lock_guard guard(mutex_);
      kept_.push_back(reply);
      arrived.count_down();
    } else if (request.target != "/drop") {
      reply({.status = 200, .body = request.method + " " + request.target + " " + request.body});
    }
  }

  std::vector<HttpReply> take() {
    const std::lock_guard guard(mutex_);
    return std::exchange(kept_, {});
  }

  creel::CountDownLatch arrived{1};

 private:
  std::mutex mutex_;
  std::vector<HttpReply> kept_;
};

struct Fixture {
  explicit Fixture(HttpLimits limits = {}) : server({.limits = limits}, handler) {}
  HttpClient connect() const { return HttpClient(server.port()); }
  EchoHandler handler;
  HttpServer server;
};

std::string chunked(std::string_view path, std::string_view chunks) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" +
         std::string(chunks);
}

}  // namespace

TEST_CASE("http: keep-alive, pipelining, HEAD, chunks and HTTP/1.0") {
  Fixture fixture;
  HttpClient client = fixture.connect();
  const HttpAnswer first = client.ask(creel_test::post("/a?q=1", "body"));
  CHECK(first.status == 200);
  CHECK(first.body == "POST /a?q=1 body");
  CHECK(first.headers.at("server") == "creel");
  CHECK(first.headers.at("content-type") == "application/json");
  CHECK(first.headers.at("date").ends_with(" GMT"));

  client.send(creel_test::get("/1") + creel_test::post("/2", "two") + creel_test::get("/3"));
  CHECK(client.read().body == "GET /1 ");
  CHECK(client.read().body == "POST /2 two");
  CHECK(client.read().body == "GET /3 ");

  client.send("HEAD /h HTTP/1.1\r\nHost: t\r\n\r\n");
  const HttpAnswer head = client.read(/*head=*/true);
  CHECK(head.headers.at("content-length") == "8");  // "HEAD /h "
  CHECK(client.ask(chunked("/c", "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n")).body ==
        "POST /c abcdefg");

  client.send("GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  CHECK(client.read().headers.at("connection") == "close");
  CHECK(client.closed());
  HttpClient old = fixture.connect();
  CHECK(old.ask("GET /old HTTP/1.0\r\n\r\n").body == "GET /old ");
  CHECK(old.closed());
}

TEST_CASE("http: Expect: 100-continue is answered before the body, a refusal instead of it") {
  Fixture fixture;
  const std::string rest = " HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
  HttpClient client = fixture.connect();
  CHECK(client.ask("POST /x" + rest).status == 100);
  CHECK(client.ask("abc").body == "POST /x abc");
  HttpClient refused = fixture.connect();
  CHECK(refused.ask("POST /refused" + rest).status == 404);
  refused.finish_sending();
  CHECK(refused.closed());
  HttpClient unknown = fixture.connect();
  CHECK(unknown.ask("GET / HTTP/1.1\r\nHost: t\r\nExpect: gold\r\n\r\n").status == 417);
}

TEST_CASE("http: what is not HTTP gets its status and a closed connection; the server serves on") {
  Fixture fixture({.header_bytes = 1024, .body_bytes = 100});
  const std::pair<std::string, int> cases[] = {
      {"hello\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3x\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: "
       "a\r\n\r\n",
       501},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10737418240\r\n\r\n", 413},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413},
      {chunked("/", "65\r\n" + std::string(101, 'a') + "\r\n0\r\n\r\n"), 413},
      {chunked("/", "zz\r\n"), 400},
      {chunked("/", "ffffffffffffffffff\r\n"), 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(2000, 'x') + "\r\n\r\n", 431},
      {"GET /" + std::string(2000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
  };
  for (const auto& [request, status] : cases) {
    CAPTURE(request.substr(0, 120));
    HttpClient client = fixture.connect();
    const HttpAnswer answer = client.ask(request);
    CHECK(answer.status == status);
    CHECK(answer.headers.at("connection") == "close");
    CHECK(answer.body.find("\"error\"") != std::string::npos);
    client.finish_sending();
    CHECK(client.closed());
  }
  CHECK(fixture.connect().ask(creel_test::get("/")).status == 200);
}

TEST_CASE("http: a refused request keeps the connection unless its body is on the way") {
  Fixture fixture;
  HttpClient client = fixture.connect();
  CHECK(client.ask(creel_test::get("/refused")).status == 404);
  CHECK(client.ask(creel_test::get("/fine")).status == 200);
  const HttpAnswer answer = client.ask(creel_test::post("/refused", "body"));
  CHECK(answer.status == 404);
  CHECK(answer.headers.at("connection") == "close");
}

TEST_CASE("http: a client that drips bytes is dropped in time, in the header and in the body") {
  Fixture fixture({.header_time = 100ms, .body_time = 100ms, .idle_time = 1s});
  for (const std::string start :
       {"GET / HT", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n"}) {
    HttpClient slow = fixture.connect();
    slow.send(start);
    creel::Thread drip = creel::Thread::of_platform().name("drip").start([&] {
      while (slow.send("x"))
        creel::Thread::sleep(10ms);  // well within any limit that each byte would start anew
    });
    const auto begun = std::chrono::steady_clock::now();
    CHECK(slow.read().status == 408);
    CHECK(std::chrono::steady_clock::now() - begun < 5s);
    drip.join();
  }
  HttpClient silent = fixture.connect();
  CHECK(silent.closed());
  HttpClient kept = fixture.connect();
  CHECK(kept.ask(creel_test::get("/")).status == 200);
  CHECK(kept.closed());
}

TEST_CASE("http: a client that does not read its answer is dropped") {
  Fixture fixture({.write_time = 100ms});
  HttpClient client = fixture.connect();
  const std::string request = creel_test::post("/", std::string(8 << 20, 'b'));
  for (int i = 0; i < 3 && client.send(request); ++i) {
  }
  CHECK(fixture.server.drain(10s));
}

TEST_CASE("http: bodies of all connections together are bounded") {
  Fixture fixture({.buffered_bytes = 1000});
  HttpClient first = fixture.connect();
  first.send("POST /later HTTP/1.1\r\nHost: t\r\nContent-Length: 900\r\n\r\n" + std::string(900, 'a'));
  fixture.handler.arrived.await();
  HttpClient second = fixture.connect();
  const HttpAnswer full = second.ask(creel_test::post("/", std::string(200, 'b')));
  CHECK(full.status == 503);
  CHECK(full.headers.contains("retry-after"));
  CHECK(fixture.connect().ask(chunked("/", "c8\r\n" + std::string(200, 'c') + "\r\n0\r\n\r\n")).status ==
        503);
  for (const HttpReply& reply : fixture.handler.take()) reply({.status = 200});
  CHECK(first.read().status == 200);
  CHECK(first.ask(creel_test::post("/", std::string(900, 'd'))).status == 200);
}

TEST_CASE("http: one connection too many gets 503") {
  Fixture fixture({.connections = 2});
  HttpClient first = fixture.connect();
  HttpClient second = fixture.connect();
  CHECK(first.ask(creel_test::get("/")).status == 200);
  CHECK(second.ask(creel_test::get("/")).status == 200);
  CHECK(fixture.connect().read().status == 503);
  CHECK(first.ask(creel_test::get("/")).status == 200);
}

TEST_CASE("http: a reply may come late, from another thread, twice, or never") {
  Fixture fixture;
  HttpClient client = fixture.connect();
  client.send(creel_test::get("/later"));
  fixture.handler.arrived.await();
  creel::Thread::of_platform()
      .name("replier")
      .start([&] {
        for (const HttpReply& reply : fixture.handler.take()) {
          reply({.status = 201, .body = "late"});
          reply({.status = 500, .body = "again"});
        }
      })
      .join();
  const HttpAnswer late = client.read();
  CHECK(late.status == 201);
  CHECK(late.body == "late");
  CHECK(client.ask(creel_test::get("/drop")).status == 500);
  CHECK(client.ask(creel_test::get("/after")).status == 200);
}

TEST_CASE("http: a reply outlives its connection and its server") {
  std::optional<HttpReply> kept;
  {
    Fixture fixture;
    {
      HttpClient client = fixture.connect();
      client.send(creel_test::get("/later"));
      fixture.handler.arrived.await();
      kept = fixture.handler.take().at(0);
    }
    CHECK_FALSE(fixture.server.drain(50ms));  // the request is still in flight
  }
  (*kept)({.status = 200});
}

TEST_CASE("http: drain lets idle connections go, answers what is in flight, and takes nothing new") {
  Fixture fixture;
  HttpClient idle = fixture.connect();
  CHECK(idle.ask(creel_test::get("/")).status == 200);
  HttpClient busy = fixture.connect();
  busy.send(creel_test::get("/later"));
  fixture.handler.arrived.await();

  CHECK_FALSE(fixture.server.drain(20ms));
  CHECK(idle.closed());
  CHECK_THROWS(fixture.connect());
  for (const HttpReply& reply : fixture.handler.take()) reply({.status = 200, .body = "done"});
  const HttpAnswer answer = busy.read();
  CHECK(answer.body == "done");
  CHECK(answer.headers.at("connection") == "close");
  CHECK(busy.closed());
  CHECK(fixture.server.drain(10s));
  CHECK(fixture.server.connections() == 0);
}

TEST_CASE("http: a port in use, or an address that is not here, is said") {
  Fixture fixture;
  EchoHandler handler;
  try {
    HttpServer second({.port = fixture.server.port()}, handler);
    FAIL("bound twice");
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Io);
    CHECK(std::string(error.what())
              .find("127.0.0.1:" + std::to_string(fixture.server.port()) + ": the port is in use") !=
          std::string::npos);
  }
  CHECK_THROWS_AS(HttpServer({.host = "203.0.113.7"}, handler), creel::Error);
  CHECK_THROWS_AS(HttpServer({.host = "no such host"}, handler), creel::Error);
  HttpServer six({.host = "::1"}, handler);
  CHECK(six.address() == "[::1]:" + std::to_string(six.port()));
}

TEST_CASE("http: many clients at once each get their own answers, on two I/O threads") {
  EchoHandler handler;
  HttpServer server({.threads = 2}, handler);
  std::vector<creel::Thread> clients;
  std::atomic<int> right{0};
  for (int c = 0; c < 8; ++c) {
    clients.push_back(creel::Thread::of_platform().name("client-" + std::to_string(c)).start([&, c] {
      HttpClient client(server.port());
      for (int i = 0; i < 200; ++i) {
        const std::string body =
            std::to_string(c) + ":" + std::to_string(i) + std::string(static_cast<std::size_t>(i), 'x');
        if (client.ask(creel_test::post("/", body)).body == "POST / " + body) ++right;
      }
    }));
  }
  for (const creel::Thread& client : clients) client.join();
  CHECK(right == 1600);
}

TEST_CASE("http: mutated bytes never stop the server") {
  Fixture fixture({.body_bytes = 1000, .header_time = 500ms, .body_time = 500ms});
  const std::string valid =
      creel_test::post("/x", "body") + chunked("/y", "3\r\nabc\r\n0\r\n\r\n") + creel_test::get("/z");
  std::mt19937 random(11);
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  int statuses[6] = {};
  for (int i = 0; i < 400; ++i) {
    std::string bytes = valid;
    for (std::size_t edits = 1 + below(5); edits > 0; --edits) {
      const std::size_t at = below(bytes.size());
      switch (below(3)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes.erase(at, 1 + below(6));
          break;
        default:
          bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(40)));
          break;
      }
    }
    HttpClient client = fixture.connect();
    client.send(bytes);
    client.finish_sending();
    try {
      for (HttpAnswer answer = client.read(); answer.status != 0; answer = client.read()) {
        REQUIRE(answer.status / 100 <= 5);
        ++statuses[answer.status / 100];
      }
    } catch (const std::runtime_error& error) {
      // A HEAD by mutation has a length and no body: the next answer, or the end, stands in its place.
      CHECK(std::string(error.what()).find("silent") == std::string::npos);
    }
  }
  CHECK(statuses[2] > 0);
  CHECK(statuses[4] > 0);
  CHECK(fixture.connect().ask(creel_test::get("/")).status == 200);
  CHECK(fixture.server.drain(10s));
}
