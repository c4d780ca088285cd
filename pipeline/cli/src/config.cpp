#include "command.hpp"

#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/runtime/error.hpp>

#include <CLI/App.hpp>

#include <memory>

namespace creel::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  creel config                  every key
  creel config data             those of one section
  creel config train.seed       one key)";

struct ConfigOptions {
  std::string section;
  bool markdown = false;
};

std::string entry_text(const pipeline::KeyDescription& key) {
  std::string text = key.path + ": " + key.type + "\n    " + key.doc + "\n    ";
  text += key.default_value.starts_with("required") ? key.default_value : "default " + key.default_value;
  return text + (key.fixed_on_resume ? "; the same when resumed\n" : "\n");
}

int list(const ConfigOptions& options) {
  if (options.markdown) {
    print(pipeline::keys_markdown());
    return 0;
  }
  std::string text;
  std::vector<std::string> names;
  for (const pipeline::KeyDescription& key : pipeline::describe_keys()) {
    for (std::size_t dot = 0; dot != std::string::npos;) {
      dot = key.path.find('.', dot + 1);
      names.push_back(key.path.substr(0, dot));
    }
    const bool inside = key.path == options.section || key.path.starts_with(options.section + ".");
    if (options.section.empty() || inside) text += entry_text(key);
  }
  if (text.empty()) {
    const auto near = pipeline::nearest_name(options.section, names);
    throw Error("there is no key or section '" + options.section + "'; " +
                    (near ? "did you mean " + *near + "?" : "`creel config` lists all"),
                ErrorCode::Config);
  }
  print(text);
  return 0;
}

}  // namespace

Command add_config(CLI::App& app) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* command = app.add_subcommand("config", "List the keys of a config file: type, default, meaning");
  command->footer(kFooter);
  command->add_option("section", options->section, "Only this section or key")->type_name("KEY");
  command->add_flag("--markdown", options->markdown, "As the page docs/config.md");
  return {command, [options] { return list(*options); }};
}

}  // namespace creel::cli
