#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace creel::pipeline {

struct ServeOptions {
  std::filesystem::path run_dir;
  std::string host = "127.0.0.1";  ///< address to listen on; only this machine by default
  std::uint16_t port = 8080;       ///< 0 picks a free one
  int threads = 0;  ///< threads that compute, one operation thread each; 0 means one for each core
  std::chrono::milliseconds drain_time{10'000};  ///< for requests in flight, after SIGTERM or SIGINT
};

/// Serves a finished run by HTTP until SIGTERM or SIGINT comes, then answers what is in flight and returns
/// 143 or 130. A second signal ends the process at once. Prints one line on stdout when it is ready: `serving
/// clip_digits at http://127.0.0.1:8080/v2/models/clip_digits/infer`. The run folder is only read. Throws
/// Error: Missing if the run or a file of it is not there, Data if one is damaged, Io if the port is taken.
int serve(const ServeOptions& options);

}  // namespace creel::pipeline
