#include "command.hpp"

#include <creel/pipeline/launch/launcher.hpp>
#include <creel/runtime/error.hpp>

#include <CLI/App.hpp>
#include <CLI/Validators.hpp>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <memory>

namespace creel::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  creel serve runs/clip_digits
  creel serve runs/clip_digits --host 0.0.0.0 --port 8000
Then: curl localhost:8080/v2/health/ready, and POST to /v2/models/NAME/infer (Open Inference Protocol v2).)";

struct ServeOptions {
  std::string run_dir;
  std::string host = "127.0.0.1";
  int port = 8080;
};

// Becomes the server instead of starting it: the process that was asked for is the one that answers, to
// signals too.
int become_server(const ServeOptions& options) {
  const auto run_dir = std::filesystem::absolute(options.run_dir);
  if (!std::filesystem::exists(run_dir / "config.yaml")) {
    throw Error(
        run_dir.string() + " holds no run (no config.yaml in it); name the folder of a finished `creel run`",
        ErrorCode::Missing);
  }
  const std::string worker = pipeline::find_worker().string();
  std::vector<std::string> words{worker,   "serve",      "--run-dir", run_dir.string(),
                                 "--host", options.host, "--port",    std::to_string(options.port)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // exec would keep it ignored
  ::execv(worker.c_str(), argv.data());
  throw IoError("cannot start", worker, errno);
}

}  // namespace

Command add_serve(CLI::App& app) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "Answer inference requests over HTTP with a trained model");
  command->footer(kFooter);
  command->add_option("run_dir", options->run_dir, "Folder of a finished run")
      ->required()
      ->type_name("RUN_DIR");
  command->add_option("--host", options->host, "Address to listen on")->capture_default_str();
  command->add_option("--port", options->port, "Port to listen on; 0 picks a free one")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  return {command, [options] { return become_server(*options); }};
}

}  // namespace creel::cli
