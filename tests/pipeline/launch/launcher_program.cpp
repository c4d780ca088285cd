// `launcher_program RUN_DIR WORKER GRACE_MS MODE…`: one rank per mode. Ends as `creel run` does.
#include <creel/pipeline/launch/launcher.hpp>
#include <creel/runtime/error.hpp>

#include <cstdio>
#include <string>

int main(int argc, char** argv) try {
  creel::pipeline::LaunchPlan plan;
  plan.run_dir = argv[1];
  plan.worker = argv[2];
  plan.grace = std::chrono::milliseconds(std::stoi(argv[3]));
  for (int i = 4; i < argc; ++i) plan.arguments.emplace_back(argv[i]);
  plan.ranks = argc - 4;
  const creel::pipeline::LaunchResult result = creel::pipeline::run_ranks(plan);
  if (!result.message.empty()) std::fprintf(stderr, "%s\n", result.message.c_str());
  return result.exit_code;
} catch (const creel::Error& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return creel::exit_code(e.code());
}
