#include "checks.hpp"

#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/pipeline/config/shard_pattern.hpp>
#include <creel/pipeline/config/transform_spec.hpp>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <system_error>

namespace creel::pipeline::detail {
namespace {

// Divisors of `whole` on both sides of `part`: what the user most likely wants instead.
std::string nearby_divisors(std::int64_t whole, std::int64_t part) {
  std::int64_t below = std::min(part, whole);
  while (below > 1 && whole % below != 0) --below;
  std::int64_t above = part;
  while (above < whole && whole % above != 0) ++above;
  if (above >= whole || above == below) return std::to_string(below);
  return std::to_string(below) + " or " + std::to_string(above);
}

void check_divides(std::string part_key, std::int64_t part, std::string whole_key, std::int64_t whole,
                   Issues& issues) {
  if (!issues.right(part_key) || !issues.right(whole_key) || whole % part == 0) return;
  issues.add(issues.place_of(part_key), part_key,
             std::to_string(part) + " does not divide " + whole_key + " " + std::to_string(whole) + "; use " +
                 nearby_divisors(whole, part));
}

void check_token(std::string key, std::int64_t id, std::int64_t vocabulary, Issues& issues) {
  if (!issues.right(key) || !issues.right("model.text.vocabulary") || id < vocabulary) return;
  issues.add(issues.place_of(key), key,
             "is " + std::to_string(id) + ", but model.text.vocabulary has only " +
                 std::to_string(vocabulary) + " ids; use one below");
}

void check_model(const models::ClipSpec& clip, Issues& issues) {
  check_divides("model.image.patch", clip.image.patch, "model.image.size", clip.image.size, issues);
  check_divides("model.image.heads", clip.image.heads, "model.image.width", clip.image.width, issues);
  check_divides("model.text.heads", clip.text.heads, "model.text.width", clip.text.width, issues);
  check_token("model.text.bos", clip.text.bos, clip.text.vocabulary, issues);
  check_token("model.text.eos", clip.text.eos, clip.text.vocabulary, issues);
}

// What the last tokenize and resize make must be what the model takes: else the first step fails, minutes
// later.
void check_shapes(const std::vector<TransformCall>& calls, const std::string& key,
                  const models::ClipSpec& clip, Issues& issues) {
  const auto last = [&](std::string_view name) -> const TransformCall* {
    const auto found =
        std::find_if(calls.rbegin(), calls.rend(), [&](const auto& call) { return call.name == name; });
    return found == calls.rend() ? nullptr : &*found;
  };
  const auto compare = [&](const TransformCall* call, std::size_t index, const char* model_key,
                           std::int64_t wanted) {
    if (call == nullptr || call->arguments.size() != index + 1 || !issues.right(key) ||
        !issues.right(model_key))
      return;
    const std::string& given = call->arguments[index];
    if (given == std::to_string(wanted) ||
        !std::all_of(given.begin(), given.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
      return;
    Place place = issues.place_of(key);
    if (call->line > 0) place.line = call->line, place.column = call->column;
    issues.add(
        place, key,
        to_string(*call) + " does not fit " + model_key + " " + std::to_string(wanted) + "; make them equal");
  };
  const bool cropped = std::any_of(calls.begin(), calls.end(), [](const auto& call) {
    return call.name.find("crop") != std::string::npos;
  });
  if (!cropped) compare(last("resize"), 0, "model.image.size", clip.image.size);
  compare(last("tokenize"), 1, "model.text.context", clip.text.context);
}

void check_name(const RunConfig& config, Issues& issues) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  };
  const std::string& name = config.name;
  if (!issues.right("name")) return;
  if (name.empty() || name.front() == '.' || name.size() > 200 ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    issues.add(issues.place_of("name"), "name",
               "'" + name + "' cannot name a folder; set name to letters, digits, _, - and . only");
  }
}

void check_evaluate(const RunConfig& config, Issues& issues) {
  if (!config.data.eval.format.empty()) {
    const auto need = [&](const char* key, const std::vector<std::string>& list, const char* what) {
      if (!list.empty() || !issues.right(key)) return;
      issues.add(issues.place_of(key), key,
                 std::string("is missing or empty, but data.eval asks for an evaluation; ") + what);
    };
    need("evaluate.classes", config.evaluate.classes, "list one name per label");
    need("evaluate.prompts", config.evaluate.prompts, "list templates such as \"a photo of a {}\"");
  }
  for (const std::string& prompt : config.evaluate.prompts) {
    if (prompt.find("{}") != std::string::npos) continue;
    issues.add(issues.place_of("evaluate.prompts"), "evaluate.prompts",
               "\"" + prompt + "\" has no {} for the class name; put one in");
  }
  std::set<std::string> names;
  for (const std::string& name : config.evaluate.classes) {
    if (names.insert(name).second) continue;
    issues.add(issues.place_of("evaluate.classes"), "evaluate.classes",
               "names '" + name + "' twice; each label needs a name of its own");
  }
}

void check_calls(const std::vector<TransformCall>& calls, const std::string& key, const TransformRules& rules,
                 Issues& issues) {
  const auto add = [&](const TransformCall& call, const std::string& message) {
    Place place = issues.place_of(key);
    if (place.line > 0 && call.line > 0) place.line = call.line, place.column = call.column;
    issues.add(place, key, message);
  };
  const auto known = [&](const TransformCall& call) {
    return std::find(rules.names.begin(), rules.names.end(), call.name) != rules.names.end();
  };
  for (const TransformCall& call : calls) {
    if (known(call)) continue;
    const auto near = nearest_name(call.name, rules.names);
    std::string all;
    for (const std::string& name : rules.names) all += (all.empty() ? "" : ", ") + name;
    add(call, "unknown transform '" + call.name + "'; " +
                  (near ? "did you mean " + *near + "?" : "there are " + all));
  }
  if (!rules.check) return;
  for (const TransformMistake& mistake : rules.check(calls)) {
    if (known(calls[mistake.call])) add(calls[mistake.call], mistake.message);
  }
}

}  // namespace

void check_values(const RunConfig& config, Issues& issues) {
  check_name(config, issues);
  check_evaluate(config, issues);
  if (!issues.right("model.name")) return;
  const auto& clip = std::get<models::ClipSpec>(config.model.options);
  check_model(clip, issues);
  check_shapes(config.train_transforms, "transforms.train", clip, issues);
  check_shapes(config.eval_transforms, "transforms.eval", clip, issues);
}

void check_transforms(const RunConfig& config, const TransformRules& rules, Issues& issues) {
  if (rules.names.empty()) return;
  check_calls(config.train_transforms, "transforms.train", rules, issues);
  // One text for both is checked once.
  const bool same = issues.place_of("transforms.train").offset == issues.place_of("transforms.eval").offset &&
                    to_string(config.train_transforms) == to_string(config.eval_transforms);
  if (!same) check_calls(config.eval_transforms, "transforms.eval", rules, issues);
}

void check_files(RunConfig& config, std::span<const Key> keys, Issues& issues) {
  constexpr std::size_t kNamed = 16;
  for (const Key& key : keys) {
    if (!key.shards || !issues.was_written(key.path) || !issues.right(key.path)) continue;
    const std::string name(key.path);
    const Place& place = issues.place_of(name);
    std::vector<std::string> paths;
    try {
      paths = expand_shards(*std::get<std::string*>(key.slot(config)));
    } catch (const Error& e) {
      issues.add(place, name, e.what());
      continue;
    }
    std::size_t missing = 0;
    std::string named;
    for (const std::string& path : paths) {
      std::error_code error;
      const bool file = std::filesystem::is_regular_file(path, error);
      if (file && ::access(path.c_str(), R_OK) == 0) continue;
      if (++missing > kNamed) continue;
      const char* why = file                                   ? " (not readable)"
                        : std::filesystem::exists(path, error) ? " (not a file)"
                                                               : "";
      named += (named.empty() ? "" : ", ") + path + why;
    }
    if (missing == 0) continue;
    if (missing > kNamed) named += " and " + std::to_string(missing - kNamed) + " more";
    const std::string count = paths.size() == 1 ? "no such file: "
                                                : std::to_string(missing) + " of " +
                                                      std::to_string(paths.size()) + " files are missing: ";
    issues.add(place, name, count + named + "; make them or correct the path");
  }
}

}  // namespace creel::pipeline::detail
