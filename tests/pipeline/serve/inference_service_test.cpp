#include "http_client.hpp"

#include <creel/pipeline/serve/inference_service.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace creel::pipeline;
using namespace std::chrono_literals;
using creel_test::get;
using creel_test::HttpAnswer;
using creel_test::HttpClient;
using creel_test::post;
using nlohmann::json;

namespace {

/// Gives back the lengths of its texts; "wait" waits to be let go or stopped, "bad" fails, "broken" throws.
class LengthModel final : public InferenceModel {
 public:
  const std::string& name() const noexcept override { return name_; }
  std::span<const TensorSpec> inputs() const noexcept override { return inputs_; }
  std::span<const TensorSpec> outputs() const noexcept override { return outputs_; }

  creel::Result<std::vector<InferTensor>> infer(const InferRequest& request,
                                                std::stop_token stop) const override {
    std::vector<float> lengths;
    for (const std::string& text : std::get<std::vector<std::string>>(request.inputs[0].data)) {
      if (text == "wait") {
        entered.count_down();
        while (!let_go.await(1ms)) {
          if (stop.stop_requested()) throw creel::CancelledError("stopped");
        }
      }
      if (text == "bad") return creel::Failure{creel::ErrorCode::Data, "input \"text\": data[0] is bad"};
      if (text == "broken") throw creel::Error("the model is broken");
      lengths.push_back(static_cast<float>(text.size()));
    }
    const auto rows = static_cast<std::int64_t>(lengths.size());
    return std::vector<InferTensor>{{"length", {rows}, std::move(lengths), {}}};
  }

  mutable creel::CountDownLatch entered{1};
  mutable creel::CountDownLatch let_go{1};

 private:
  std::string name_ = "lengths";
  std::vector<TensorSpec> inputs_ = {{"text", Datatype::Binary, {-1}}};
  std::vector<TensorSpec> outputs_ = {{"length", Datatype::Fp32, {-1}}};
};

struct Fixture {
  explicit Fixture(InferenceServiceOptions options = {}) : service(model, options), server({}, service) {}
  HttpClient connect() const { return HttpClient(server.port()); }
  HttpAnswer ask(const std::string& request) const { return connect().ask(request); }

  LengthModel model;
  InferenceService service;
  HttpServer server;
};

std::string texts(const std::vector<std::string>& values) {
  return json{
      {"inputs", {{{"name", "text"}, {"datatype", "BYTES"}, {"shape", {values.size()}}, {"data", values}}}}}
      .dump();
}

std::string error_of(const HttpAnswer& answer) { return json::parse(answer.body).at("error"); }

const std::string kInfer = "/v2/models/lengths/infer";

}  // namespace

TEST_CASE("service: metadata, health and inference, with and without a version") {
  const Fixture fixture;
  HttpClient client = fixture.connect();
  CHECK(json::parse(client.ask(get("/v2")).body)["name"] == "creel");
  CHECK(json::parse(client.ask(get("/v2/health/live")).body)["live"] == true);
  CHECK(client.ask(get("/v2/health/ready")).status == 200);
  for (const std::string path :
       {"/v2/models/lengths", "/v2/models/lengths/versions/1", "/v2/models/%6cengths?x=y"}) {
    CAPTURE(path);
    const json model = json::parse(client.ask(get(path)).body);
    CHECK(model["name"] == "lengths");
    CHECK(model["versions"] == json{"1"});
    CHECK(model["inputs"] == json::parse(R"([{"name":"text","datatype":"BYTES","shape":[-1]}])"));
    CHECK(model["outputs"] == json::parse(R"([{"name":"length","datatype":"FP32","shape":[-1]}])"));
  }
  CHECK(json::parse(client.ask(get("/v2/models/lengths/ready")).body)["ready"] == true);
  CHECK(client.ask(get("/v2/models/lengths/versions/1/ready")).status == 200);
  for (const std::string path : {"/v2/models/lengths/infer", "/v2/models/lengths/versions/1/infer",
                                 "http://host:80/v2/models/lengths/infer"}) {
    CAPTURE(path);
    const json answer = json::parse(client.ask(post(path, texts({"a", "bcd"}))).body);
    CHECK(answer["model_name"] == "lengths");
    CHECK(answer["model_version"] == "1");
    CHECK_FALSE(answer.contains("id"));
    CHECK(answer["outputs"][0]["data"] == json{1.0, 3.0});
  }
}

TEST_CASE("service: the id comes back in the body, whatever it holds, and in no header") {
  const Fixture fixture;
  json request = json::parse(texts({"a"}));
  request["id"] = "x\r\nSet-Cookie: y\xf0\x9f\x98\x80";
  const HttpAnswer answer = fixture.ask(post(kInfer, request.dump()));
  CHECK(answer.status == 200);
  CHECK(json::parse(answer.body)["id"] == request["id"]);
  CHECK_FALSE(answer.headers.contains("set-cookie"));
}

TEST_CASE("service: wrong paths, methods, types and bodies get their status and a message") {
  const Fixture fixture;
  for (const std::string path :
       {"/", "/v1", "/v2/", "/v2//health/live", "/v2/health", "/v2/health/dead", "/v2/models", "/v2/models/",
        "/v2/models/lengths/", "/v2/models/lengths/x", "*", "/v2/models/lengths/versions",
        "/v2/models/lengths/versions/1/x", "/v2/models/lengths/infer/x", "/v2/health/live/x"}) {
    CAPTURE(path);
    const HttpAnswer answer = fixture.ask(get(path));
    CHECK(answer.status == 404);
    CHECK(error_of(answer).size() > 0);
  }
  CHECK(error_of(fixture.ask(get("/v2/models/other"))) == "no model other here; there is lengths");
  CHECK(error_of(fixture.ask(get("/v2/models/lengths/versions/2"))) ==
        "model lengths has no version 2; it has 1");
  CHECK(error_of(fixture.ask(get("/v2/models/%zz%0d%0a%ff"))) == "no model %zz??? here; there is lengths");

  const HttpAnswer wrong = fixture.ask(get(kInfer));
  CHECK(wrong.status == 405);
  CHECK(wrong.headers.at("allow") == "POST");
  CHECK(fixture.ask(post("/v2", "{}")).headers.at("allow") == "GET, HEAD");
  CHECK(fixture.ask("DELETE /v2/models/lengths HTTP/1.1\r\nHost: t\r\n\r\n").status == 405);

  const auto typed = [&](const std::string& headers) {
    const std::string body = texts({"a"});
    return fixture.ask("POST " + kInfer + " HTTP/1.1\r\nHost: t\r\n" + headers +
                       "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  };
  CHECK(typed("").status == 200);
  CHECK(typed("Content-Type: Application/JSON ; charset=utf-8\r\n").status == 200);
  CHECK(typed("Content-Type: application/x-www-form-urlencoded\r\n").status == 415);
  CHECK(typed("Content-Type: application/octet-stream\r\nInference-Header-Content-Length: 5\r\n").status ==
        415);
  CHECK(typed("Content-Type: application/json\r\nContent-Encoding: gzip\r\n").status == 415);

  CHECK(fixture.ask(post(kInfer, "")).status == 400);
  CHECK(fixture.ask(post(kInfer, "{")).status == 400);
  CHECK(fixture.ask(post(kInfer, texts({"bad"}))).status == 400);
  const HttpAnswer broken = fixture.ask(post(kInfer, texts({"broken"})));
  CHECK(broken.status == 500);
  CHECK(error_of(broken) == "the model is broken");
  CHECK(fixture.ask(post(kInfer, texts({"a"}))).status == 200);
}

TEST_CASE("service: a full queue answers 503 at once, and serves on when there is room") {
  Fixture fixture({.threads = 1, .queue = 1});
  HttpClient computed = fixture.connect();
  computed.send(post(kInfer, texts({"wait"})));
  fixture.model.entered.await();
  // One of the two finds the only place taken by the other.
  HttpClient one = fixture.connect();
  HttpClient other = fixture.connect();
  one.send(post(kInfer, texts({"abc"})));
  other.send(post(kInfer, texts({"abc"})));
  HttpClient& turned_away = HttpClient::first_answered(one, other);
  HttpClient& queued = &turned_away == &one ? other : one;
  const HttpAnswer full = turned_away.read();
  CHECK(full.status == 503);
  CHECK(full.headers.at("retry-after") == "1");
  CHECK(fixture.ask(get("/v2/health/live")).status == 200);  // I/O goes on
  fixture.model.let_go.count_down();
  CHECK(computed.read().status == 200);
  CHECK(queued.read().status == 200);
  CHECK(turned_away.ask(post(kInfer, texts({"a"}))).status == 200);
}

TEST_CASE("service: stop answers what is queued and computed with 503 and says not ready") {
  Fixture fixture({.threads = 1, .queue = 4});
  HttpClient computed = fixture.connect();
  computed.send(post(kInfer, texts({"wait"})));
  fixture.model.entered.await();
  HttpClient queued = fixture.connect();
  queued.send(post(kInfer, texts({"a"})));
  HttpClient watching = fixture.connect();
  fixture.service.set_unready();
  CHECK(watching.ask(get("/v2/health/ready")).status == 503);
  CHECK(watching.ask(get("/v2/models/lengths/ready")).status == 503);
  CHECK(watching.ask(get("/v2/health/live")).status == 200);
  fixture.service.stop();
  CHECK(computed.read().status == 503);
  CHECK(queued.read().status == 503);
  CHECK(fixture.ask(post(kInfer, texts({"a"}))).status == 503);
  CHECK(fixture.server.drain(10s));
}

TEST_CASE("service: a thread dump says what each thread does, and for which request") {
  const Fixture fixture({.threads = 2});
  HttpClient computed = fixture.connect();
  computed.send(post(kInfer, texts({"wait", "a"})));
  fixture.model.entered.await();
  for (const char* wanted : {"\"http-0\"", "HTTP at 127.0.0.1:", "\"infer-0\"", "\"infer-1\"",
                             "POST /v2/models/lengths/infer, 2 rows", "http -> infer, empty"}) {
    CAPTURE(wanted);
    // The other thread may still be on its way to the channel.
    CHECK(creel_test::eventually(
        [&] { return creel::ThreadDump::take().to_text().find(wanted) != std::string::npos; }));
  }
  fixture.model.let_go.count_down();
  CHECK(computed.read().status == 200);
}
