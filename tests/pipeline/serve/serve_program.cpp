// What creel-worker's `serve` does and nothing else: serve_test starts it, since signals and exit codes are a
// process's.
//
//   creel_serve_program RUN_DIR [PORT]

#include <creel/pipeline/serve/serve.hpp>
#include <creel/runtime/error.hpp>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  creel::pipeline::ServeOptions options;
  options.run_dir = argv[1];
  options.port = argc > 2 ? static_cast<std::uint16_t>(std::atoi(argv[2])) : std::uint16_t{0};
  try {
    return creel::pipeline::serve(options);
  } catch (const creel::Error& error) {
    std::fprintf(stderr, "creel: %s\n", error.what());
    return creel::exit_code(error.code());
  }
}
