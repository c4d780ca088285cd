#include "stop_signals.hpp"

#include <creel/pipeline/serve/http_server.hpp>
#include <creel/pipeline/serve/inference_service.hpp>
#include <creel/pipeline/serve/serve.hpp>
#include <creel/pipeline/serve/session.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>

#include <algorithm>
#include <cstdio>
#include <thread>

namespace creel::pipeline {
namespace {

int compute_threads(const ServeOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

/// Waits for the signal, then takes the parts down from the outside in. Returns the signal.
int run_until_stopped(StopSignals& signals, InferenceService& service, HttpServer& server,
                      const ServeOptions& options) {
  int signal = 0;
  {
    const Activity activity("serving at " + server.address());
    signal = signals.wait();
  }
  const Activity activity("draining");
  log::info("serve.draining", {{"signal", signal}, {"connections", server.connections()}});
  service.set_unready();
  if (!server.drain(options.drain_time)) {
    log::warn("serve.drain_incomplete", {{"connections", server.connections()}});
  }
  service.stop();                         // answers what is still queued or computed with 503 …
  server.drain(std::chrono::seconds(1));  // … which is given a moment to go out
  return signal;
}

}  // namespace

int serve(const ServeOptions& options) {
  StopSignals signals;
  const Session session(options.run_dir);
  InferenceService service(session, {.threads = compute_threads(options)});
  HttpServer server({.host = options.host, .port = options.port, .threads = 1, .limits = {}}, service);
  std::printf("serving %s at http://%s%s\n", session.name().c_str(), server.address().c_str(),
              service.infer_path().c_str());
  std::fflush(stdout);
  const int signal = run_until_stopped(signals, service, server, options);
  log::info("serve.stopped", {{"signal", signal}});
  return 128 + signal;
}

}  // namespace creel::pipeline
