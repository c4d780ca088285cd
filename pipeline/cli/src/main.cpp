#include "command.hpp"

#include <creel/pipeline/config/config_issue.hpp>
#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/runtime/error.hpp>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <csignal>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace creel::cli {
namespace {

constexpr int kUsage = 2;

constexpr const char* kFooter = R"(Examples:
  creel run examples/configs/clip_digits.yaml         train, evaluate, write runs/clip_digits
  creel run my.yaml --set data.batch=32 --dry-run     show what would run, and where each value comes from
  creel run my.yaml --resume                          go on from the last checkpoint
  creel serve runs/clip_digits --port 8080            answer requests with the trained model
  creel dump runs/clip_digits                         what every thread of every rank is doing

Exit codes:
  0 done   1 failed   2 bad config or usage   3 missing dependency or input   4 bad data   5 a rank was lost
  130, 143 interrupted by SIGINT, SIGTERM)";

int usage_error(const std::string& text) {
  complain(text);
  return kUsage;
}

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.options->get_name());
  return names;
}

// What the parser left over: an option or a word that the command does not have.
int unexpected(const CLI::App& options, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::Option* option : options.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  const auto near = pipeline::nearest_name(word.substr(0, word.find('=')), known);
  return usage_error(
      "'" + word + "' is no option of `creel " + options.get_name() + "`; " +
      (near ? "did you mean " + *near + "?" : "see `creel " + options.get_name() + " --help`"));
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Trains, evaluates and serves models, and shows what their threads do.", "creel"};
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "This text; `creel COMMAND --help` has more");
  app.require_subcommand(0, 1);
  std::vector<Command> commands{add_run(app),   add_serve(app),  add_dump(app),   add_ps(app),
                                add_bench(app), add_config(app), add_version(app)};
  for (const Command& command : commands) command.options->allow_extras();

  if (argc > 1 && argv[1][0] != '-') {
    const std::vector<std::string> names = names_of(commands);
    if (std::find(names.begin(), names.end(), argv[1]) == names.end()) {
      const auto near = pipeline::nearest_name(argv[1], names);
      return usage_error("there is no command '" + std::string(argv[1]) + "'; " +
                         (near ? "did you mean " + *near + "?" : "`creel --help` lists them"));
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& e) {
    const auto chosen = app.get_subcommands();
    const std::string command = chosen.empty() ? "creel" : "creel " + chosen.front()->get_name();
    return usage_error(std::string(e.what()) + "; see `" + command + " --help`");
  }
  for (const Command& command : commands) {
    if (!command.options->parsed()) continue;
    const std::vector<std::string> rest = command.options->remaining();
    const bool passes_on = command.options->get_prefix_command();
    return rest.empty() || passes_on ? command.run() : unexpected(*command.options, rest.front());
  }
  print(app.help());
  return kUsage;
}

}  // namespace
}  // namespace creel::cli

int main(int argc, char** argv) {
  using namespace creel;
  // `creel config | head` shall end, not die: writing tells when the reader has gone.
  std::signal(SIGPIPE, SIG_IGN);
  cli::remember_arguments(argc, argv);
  try {
    return cli::parse_and_run(argc, argv);
  } catch (const pipeline::ConfigErrors& e) {
    // Without a prefix, so that an editor finds the places.
    const std::size_t count = e.issues().size();
    const std::string text = std::string(e.what()) + "\n";
    cli::complain(std::to_string(count) + (count == 1 ? " mistake" : " mistakes") +
                  " in the configuration, nothing was started:\n" + text.substr(0, text.size() - 1));
    return exit_code(e.code());
  } catch (const Error& e) {
    cli::complain(e.what());
    return exit_code(e.code());
  } catch (const std::exception& e) {
    cli::complain(e.what());
    return 1;
  }
}
