// creel-worker: what `creel` starts for each rank of a run, and becomes for a server. Everything that needs
// LibTorch is in here, so that `creel` itself starts in milliseconds.

#include <creel/pipeline/serve/serve.hpp>
#include <creel/pipeline/train/train_rank.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace {

using creel::pipeline::RankOptions;
using creel::pipeline::ServeOptions;

void add_train(CLI::App& app, RankOptions& options) {
  CLI::App* train = app.add_subcommand("train", "Train as one rank of a run");
  train->add_option("--run-dir", options.run_dir, "Run folder with config.yaml")->required();
  train->add_option("--rank", options.rank, "Rank of this process, from 0")->required();
  train->add_option("--ranks", options.ranks, "Number of ranks")->required();
  train->add_option("--world-fd", options.world_fd, "Inherited shared memory of the ranks");
  train->add_flag("--resume", options.resume, "Go on from the newest checkpoint");
}

void add_serve(CLI::App& app, ServeOptions& options) {
  CLI::App* serve = app.add_subcommand("serve", "Serve a trained run");
  serve->add_option("--run-dir", options.run_dir, "Run folder")->required();
  serve->add_option("--host", options.host, "Address to listen on");
  serve->add_option("--port", options.port, "Port to listen on; 0 picks one");
  serve->add_option("--threads", options.threads, "Threads that compute; 0: one per core");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"creel's worker process; started by creel, seldom by hand"};
  app.require_subcommand(1);
  RankOptions rank;
  ServeOptions server;
  add_train(app, rank);
  add_serve(app, server);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  const bool training = app.got_subcommand("train");
  const std::string who = training ? "rank " + std::to_string(rank.rank) : "serve";
  try {
    creel::Thread::current().set_name("main");
    const creel::Diagnostics diagnostics{
        {.name = "creel-worker", .arguments = std::vector<std::string>(argv + 1, argv + argc)}};
    return training ? creel::pipeline::train_rank(rank) : creel::pipeline::serve(server);
  } catch (const creel::Error& error) {
    std::fprintf(stderr, "creel: %s: %s\n", who.c_str(), error.what());
    return creel::exit_code(error.code());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "creel: %s: %s\n", who.c_str(), error.what());
    return 1;
  }
}
