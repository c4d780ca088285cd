#include "diagnostic_commands.hpp"

#include "../write_fully.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/thread_dump.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <utility>

namespace creel::detail {
namespace {

constexpr std::array<std::string_view, 5> kLevels{"debug", "info", "warn", "error", "off"};  // as log::Level

bool has_word(std::span<const std::string> words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// jstack sends "-e -l" or "-l" as one argument; HotSpot looks for the letters.
ThreadDump::TextOptions text_options(std::string_view flags) {
  ThreadDump::TextOptions options;
  options.locks = flags.find('l') != std::string_view::npos;
  options.extended = flags.find('e') != std::string_view::npos;
  return options;
}

std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \t\n");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    const bool quoted = line.front() == '"' || line.front() == '\'';
    const std::size_t end = quoted ? line.find(line.front(), 1) : line.find_first_of(" \t\n");
    words.emplace_back(quoted ? line.substr(1, end == std::string_view::npos ? end : end - 1)
                              : line.substr(0, end));
    if (end == std::string_view::npos) return words;
    line.remove_prefix(end + (quoted ? 1 : 0));
  }
}

// The escapes of java.util.Properties.
std::string escape(std::string_view text, bool key) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == ':' || c == '=' || c == '#' || c == '!' || (c == ' ' && (key || i == 0)))
      out += '\\';
    out += c;
  }
  return out;
}

std::string properties_text(const std::map<std::string, std::string>& properties) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 64> date{};
  std::strftime(date.data(), date.size(), "#%a %b %d %H:%M:%S %Z %Y\n", &local);
  std::string text = date.data();
  for (const auto& [key, value] : properties) text += escape(key, true) + "=" + escape(value, false) + "\n";
  return text;
}

std::string read_link(const char* path) {
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::readlink(path, text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

}  // namespace

void write_thread_dump(int fd) { write_fully(fd, ThreadDump::take().to_text()); }

DiagnosticCommands::DiagnosticCommands(std::string command_line)
    : command_line_(std::move(command_line)), start_(std::chrono::steady_clock::now()) {}

const std::vector<DiagnosticCommands::Command>& DiagnosticCommands::commands() {
  using Self = DiagnosticCommands;
  static const std::vector<Command> all{
      {"Log.level", "Show or change which events are logged.", "[debug|info|warn|error|off]",
       &Self::log_level},
      {"Thread.dump_to_file", "Write all threads, with their stacks and locks, to a file.",
       "[-overwrite] [-format=json|plain] FILE", &Self::dump_threads_to_file},
      {"Thread.print", "Print all threads with stack traces.",
       "[-l] locked ownable synchronizers  [-e] extended information  [-json] as Thread.dump_to_file writes "
       "it",
       &Self::print_threads},
      {"VM.command_line", "Print the command line used to start this process.", "",
       &Self::print_command_line},
      {"VM.flags", "Print the options in effect, as the environment variables that set them.", "",
       &Self::flags},
      {"VM.system_properties", "Print properties of the process and the machine.", "",
       &Self::system_properties},
      {"VM.uptime", "Print how long diagnostics have been on.", "[-date]", &Self::uptime},
      {"VM.version", "Print creel's version.", "", &Self::version},
      {"help", "Describe a command, or list them all.", "[COMMAND]", &Self::help},
  };
  return all;
}

AttachReply DiagnosticCommands::execute(const AttachRequest& request) const {
  const auto argument = [&](std::size_t i) {
    return i < request.arguments.size() ? request.arguments[i] : std::string();
  };
  if (request.command == "threaddump") {
    const ThreadDump::TextOptions options = text_options(argument(0) + argument(1) + argument(2));
    return {0, ThreadDump::take({.stack_figures = options.extended}).to_text(options)};
  }
  if (request.command == "jcmd") return run_jcmd(argument(0));
  if (request.command == "properties") return system_properties({});
  if (request.command == "agentProperties") return {0, agent_properties()};
  if (request.command == "getversion") return {0, "2"};
  if (request.command == "datadump") {
    write_thread_dump(STDERR_FILENO);
    return {};
  }
  return {1, "Operation " + request.command + " not recognized!"};
}

AttachReply DiagnosticCommands::run_jcmd(std::string_view line) const {
  const std::vector<std::string> words = split_words(line);
  const std::string name = words.empty() ? "help" : words.front();
  for (const Command& command : commands()) {
    if (command.name == name) return (this->*command.run)(Words(words).subspan(words.empty() ? 0 : 1));
  }
  return {1, "java.lang.IllegalArgumentException: Unknown diagnostic command\n"};
}

AttachReply DiagnosticCommands::help(Words arguments) const {
  std::string text;
  if (!arguments.empty()) {
    for (const Command& command : commands()) {
      if (command.name != arguments[0]) continue;
      text.append(command.name)
          .append("\n")
          .append(command.help)
          .append("\n\nSyntax : ")
          .append(command.name);
      if (!command.options.empty()) text.append(" ").append(command.options);
      return {0, text + "\n"};
    }
    return {1, "Help unavailable : '" + arguments[0] + "' : No such command\n"};
  }
  text = "The following commands are available:\n";
  for (const Command& command : commands()) text.append(command.name).append("\n");
  return {0, text + "\nFor more information about a specific command use 'help <command>'.\n"};
}

AttachReply DiagnosticCommands::print_threads(Words arguments) const {
  const bool extended = has_word(arguments, "-e") || has_word(arguments, "-e=true");
  const ThreadDump dump = ThreadDump::take({.stack_figures = extended});
  if (has_word(arguments, "-json")) return {0, dump.to_json()};
  return {0, dump.to_text({.locks = has_word(arguments, "-l") || has_word(arguments, "-l=true"),
                           .extended = extended})};
}

AttachReply DiagnosticCommands::dump_threads_to_file(Words arguments) const {
  std::string path;
  for (const std::string& word : arguments) {
    if (!word.starts_with("-")) path = word;
  }
  if (path.empty()) return {1, "The argument 'filepath' is mandatory\n"};
  // Relative to the process's own folder, as the JDK has it.
  const int existing = has_word(arguments, "-overwrite") ? O_TRUNC : O_EXCL;
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | existing, 0600));
  if (!fd && errno == EEXIST) return {1, path + " exists, use -overwrite to overwrite\n"};
  if (!fd) return {1, IoError("create", path, errno).what() + std::string("\n")};
  const ThreadDump dump = ThreadDump::take({.stack_figures = true});
  const std::string text = has_word(arguments, "-format=json") ? dump.to_json() : dump.to_plain();
  if (const int error_number = write_fully(fd.get(), text))
    return {1, IoError("write", path, error_number).what() + std::string("\n")};
  return {0, "Created " + (path.starts_with("/") ? path : read_link("/proc/self/cwd") + "/" + path) + "\n"};
}

AttachReply DiagnosticCommands::version(Words) const {
  return {0, "creel 64-Bit Server VM version " CREEL_VERSION "\ncreel " CREEL_VERSION "\n"};
}

AttachReply DiagnosticCommands::uptime(Words arguments) const {
  const std::chrono::duration<double> up = std::chrono::steady_clock::now() - start_;
  std::array<char, 80> text{};
  std::size_t used = 0;
  if (has_word(arguments, "-date")) {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    used = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S%z: ", &local);
  }
  std::snprintf(text.data() + used, text.size() - used, "%.3f s\n", up.count());
  return {0, text.data()};
}

AttachReply DiagnosticCommands::print_command_line(Words) const {
  return {0, "VM Arguments:\njava_command: " + command_line_ +
                 "\nexecutable: " + read_link("/proc/self/exe") + "\nLauncher Type: generic\n"};
}

AttachReply DiagnosticCommands::flags(Words) const {
  std::string text = "CREEL_LOG=" + std::string(kLevels[static_cast<std::size_t>(log::level())]);
  if (const char* carriers = std::getenv("CREEL_CARRIERS")) text.append(" CREEL_CARRIERS=").append(carriers);
  return {0, text + "\n"};
}

AttachReply DiagnosticCommands::system_properties(Words) const {
  utsname system{};
  ::uname(&system);
  return {0, properties_text(
                 {{"creel.version", CREEL_VERSION},
                  {"java.vm.name", "creel 64-Bit Server VM"},
                  {"java.vm.version", CREEL_VERSION},
                  {"java.vm.info", "mixed mode, sharing"},
                  {"os.name", system.sysname},
                  {"os.version", system.release},
                  {"os.arch", system.machine == std::string_view("x86_64") ? "amd64" : system.machine},
                  {"sun.java.command", command_line_},
                  {"user.dir", read_link("/proc/self/cwd")}})};
}

std::string DiagnosticCommands::agent_properties() const {
  return properties_text({{"sun.java.command", command_line_}, {"sun.jvm.args", ""}, {"sun.jvm.flags", ""}});
}

AttachReply DiagnosticCommands::log_level(Words arguments) const {
  if (!arguments.empty()) {
    const auto* found = std::find(kLevels.begin(), kLevels.end(), arguments[0]);
    if (found == kLevels.end())
      return {1, "Log.level: '" + arguments[0] + "': use debug, info, warn, error or off\n"};
    log::set_level(static_cast<log::Level>(found - kLevels.begin()));
  }
  return {0, std::string(kLevels[static_cast<std::size_t>(log::level())]) + "\n"};
}

}  // namespace creel::detail
