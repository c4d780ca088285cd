#include "http_client.hpp"
#include "tiny_run.hpp"

#include <creel/pipeline/serve/base64.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

using creel_test::get;
using creel_test::HttpClient;
using creel_test::make_png;
using creel_test::post;
using creel_test::TinyRun;
using nlohmann::json;

namespace {

/// The serving program as a child; killed at the end if it is still there.
class Server {
 public:
  explicit Server(const std::filesystem::path& run_dir, const std::string& port = "0") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    output_.reset(ends[0]);
    creel::UniqueFd child_end(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, child_end.get(), STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, (folder_.path() / "stderr").c_str(),
                                     O_WRONLY | O_CREAT, 0600);
    std::string program = CREEL_SERVE_PROGRAM;
    std::string dir = run_dir.string();
    std::string port_text = port;
    char* const arguments[] = {program.data(), dir.data(), port_text.data(), nullptr};
    REQUIRE(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Server() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Its one line on stdout; empty if it ends without.
  std::string line() {
    std::string text;
    for (char c = 0; ::read(output_.get(), &c, 1) == 1 && c != '\n';) text += c;
    return text;
  }
  std::uint16_t port() {
    const std::string ready = line();
    const std::size_t at = ready.find("127.0.0.1:");
    REQUIRE_MESSAGE(at != std::string::npos, ready << stderr_text());
    return static_cast<std::uint16_t>(std::stoi(ready.substr(at + 10)));
  }
  void signal(int number) const { ::kill(pid_, number); }
  /// Exit code, or minus the signal that killed it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string stderr_text() const {
    std::ifstream file(folder_.path() / "stderr");
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  creel_test::TemporaryFolder folder_;
  creel::UniqueFd output_;
  pid_t pid_ = -1;
};

std::string image_request(int rows) {
  json data = json::array();
  for (int i = 0; i < rows; ++i)
    data.push_back(creel::pipeline::encode_base64(make_png(64, static_cast<unsigned>(i))));
  return json{{"inputs", {{{"name", "image"}, {"datatype", "BYTES"}, {"shape", {rows}}, {"data", data}}}}}
      .dump();
}

}  // namespace

TEST_SUITE("slow") {
  TEST_CASE("serve: from the run folder to an answer, and away at a signal with its exit code") {
    const TinyRun run;
    for (const auto& [number, code] : {std::pair(SIGTERM, 143), std::pair(SIGINT, 130)}) {
      Server server(run.path());
      HttpClient client(server.port());
      CHECK(client.ask(get("/v2/health/ready")).status == 200);
      CHECK(json::parse(client.ask(get("/v2/models/tiny")).body)["inputs"].size() == 4);
      const creel_test::HttpAnswer answer = client.ask(post("/v2/models/tiny/infer", image_request(2)));
      REQUIRE(answer.status == 200);
      const json outputs = json::parse(answer.body)["outputs"];
      CHECK(outputs[0]["name"] == "image_embeds");
      CHECK(outputs[2]["name"] == "probabilities");
      CHECK(outputs[2]["shape"] == json({2, 3}));
      CHECK(client.ask(post("/v2/models/tiny/infer", "{}")).status == 400);
      server.signal(number);
      CHECK(server.wait() == code);
      CHECK(client.closed());
    }
  }

  TEST_CASE("serve: a request in flight when the signal comes is answered whole") {
    const TinyRun run;
    Server server(run.path());
    const std::uint16_t port = server.port();
    HttpClient client(port);
    // Its head is with the server before the signal, its end comes after.
    const std::string request = post("/v2/models/tiny/infer", image_request(300), "Expect: 100-continue\r\n");
    const std::size_t body = request.find("\r\n\r\n") + 4;
    client.send(request.substr(0, body));
    CHECK(client.read().status == 100);
    server.signal(SIGTERM);
    const creel_test::HttpAnswer answer = client.ask(request.substr(body));
    CHECK(answer.status == 200);
    CHECK(answer.headers.at("connection") == "close");
    CHECK(json::parse(answer.body)["outputs"][0]["shape"][0] == 300);
    CHECK(server.wait() == 143);
  }

  TEST_CASE("serve: a second signal ends the process at once") {
    const TinyRun run;
    Server server(run.path());
    HttpClient client(server.port());
    client.send(
        "POST /v2/models/tiny/infer HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\nExpect: "
        "100-continue\r\n\r\n");
    CHECK(client.read().status == 100);  // in flight, and never finished
    HttpClient idle(client.port());
    CHECK(idle.ask(get("/v2/health/live")).status == 200);
    server.signal(SIGTERM);
    CHECK(idle.closed());  // it drains
    server.signal(SIGTERM);
    CHECK(server.wait() == -SIGTERM);
  }

  TEST_CASE("serve: what stands in the way is said, with the exit code of its kind") {
    const TinyRun run;
    Server first(run.path());
    const std::string port = std::to_string(first.port());
    Server second(run.path(), port);
    CHECK(second.line().empty());
    CHECK(second.wait() == 1);
    CHECK(second.stderr_text().find("127.0.0.1:" + port + ": the port is in use") != std::string::npos);

    Server nowhere("/nowhere/run");
    CHECK(nowhere.wait() == 3);
    CHECK(nowhere.stderr_text().find("/nowhere/run: no such run folder") != std::string::npos);

    const TinyRun damaged;
    std::filesystem::resize_file(damaged.path() / "model.safetensors", 1000);
    Server broken(damaged.path());
    CHECK(broken.wait() == 4);
    CHECK(broken.stderr_text().find("model.safetensors") != std::string::npos);
  }
}
