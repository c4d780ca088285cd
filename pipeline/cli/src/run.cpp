#include "command.hpp"

#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/pipeline/launch/launcher.hpp>
#include <creel/pipeline/launch/run_directory.hpp>
#include <creel/runtime/diagnostics.hpp>

#include <CLI/App.hpp>

#include <filesystem>
#include <memory>

namespace creel::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  creel run my.yaml                                  in runs/NAME, NAME being the config's
  creel run my.yaml --out /data/run7 --set train.epochs=50 --set parallel.ranks=4
  creel run my.yaml --resume                         after an interrupt or a crash; the result is bit for bit the same
  creel run my.yaml --dry-run                        check it, and print every value with its origin
Ctrl-C (or SIGTERM) writes a checkpoint and stops; a second one stops at once.
`creel config` lists the keys of a config file.)";

struct RunOptions {
  std::string config;
  std::string out;
  std::vector<std::string> overrides;
  bool resume = false;
  bool overwrite = false;
  bool dry_run = false;
};

pipeline::LoadedConfig load(const RunOptions& options) {
  pipeline::LoadOptions load;
  load.overrides = options.overrides;
  load.transforms = {pipeline::transform_names(), pipeline::check_transforms};
  return pipeline::load_config(options.config, load);
}

int train(const RunOptions& options, const pipeline::RunConfig& config) {
  const auto path = std::filesystem::absolute(options.out.empty() ? "runs/" + config.name : options.out);
  const std::filesystem::path worker = pipeline::find_worker();  // before anything is made
  using pipeline::RunMode;
  const RunMode mode = options.resume      ? RunMode::Resume
                       : options.overwrite ? RunMode::Overwrite
                                           : RunMode::Fresh;
  const auto locked = pipeline::RunDirectory::open(path, mode, config);

  const Diagnostics diagnostics({.name = "creel", .arguments = {arguments().begin() + 1, arguments().end()}});
  pipeline::LaunchPlan plan;
  plan.worker = worker;
  plan.arguments = {"train", "--run-dir", path.string()};
  if (options.resume) plan.arguments.emplace_back("--resume");
  plan.ranks = static_cast<int>(config.parallel.ranks);
  plan.run_dir = path;
  const pipeline::LaunchResult result = pipeline::run_ranks(plan);
  if (result.exit_code != 0) {
    complain(result.message + "\n       the same command with --resume goes on from the last checkpoint");
  }
  return result.exit_code;
}

}  // namespace

Command add_run(CLI::App& app) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Train and evaluate what a config file describes");
  command->footer(kFooter);
  command->add_option("config", options->config, "The YAML file of the run")->required()->type_name("CONFIG");
  command->add_option("-o,--out", options->out, "Run folder; by default runs/<the config's name>")
      ->type_name("DIR");
  command->add_option("--set", options->overrides, "Another value for one key; may be given several times")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  CLI::Option* resume =
      command->add_flag("--resume", options->resume, "Go on from the folder's last checkpoint");
  command->add_flag("--overwrite", options->overwrite, "Remove the run that the folder holds")
      ->excludes(resume);
  command->add_flag("--dry-run", options->dry_run,
                    "Check the config and print it with the origin of each value");
  return {command, [options] {
            const pipeline::LoadedConfig loaded = load(*options);
            if (!options->dry_run) return train(*options, loaded.config);
            print(pipeline::to_yaml(loaded.config, &loaded.origins));
            return 0;
          }};
}

}  // namespace creel::cli
