#pragma once

#include <creel/pipeline/serve/http_server.hpp>
#include <creel/pipeline/serve/inference_model.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/scheduler/channel.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace creel::pipeline {

struct InferenceServiceOptions {
  int threads = 1;               ///< infer-0 …: each reads, decodes and computes one request at a time
  std::size_t queue = 64;        ///< requests that may wait for one; the next gets 503 with Retry-After
  std::int64_t max_rows = 1024;  ///< of an input of one request
};

/// The Open Inference Protocol over one model of version 1: routes requests, runs inference on threads of its
/// own.
///
///     GET  /v2   /v2/health/live   /v2/health/ready   /v2/models/M   /v2/models/M/ready
///     POST /v2/models/M/infer
///
/// `/versions/1` may follow M. Source: Open Inference Protocol 2.0 (KServe), REST.
class InferenceService final : public HttpHandler {
 public:
  /// Starts the threads. `model` must live as long as the service.
  InferenceService(const InferenceModel& model, InferenceServiceOptions options);
  /// Cancels what is still queued or computed.
  ~InferenceService() override;
  InferenceService(const InferenceService&) = delete;
  InferenceService& operator=(const InferenceService&) = delete;

  std::optional<HttpResponse> refuse(const HttpRequest& head) override;
  void handle(HttpRequest request, HttpReply reply) override;

  /// From now on /v2/health/ready says 503, so that a balancer sends nothing more.
  void set_unready() noexcept { ready_ = false; }
  /// Answers what is queued with 503, what is computed soon after, and ends the threads. May be called again.
  void stop() noexcept;

  /// "/v2/models/clip_digits/infer".
  std::string infer_path() const;

 private:
  enum class Route : std::uint8_t { Server, Live, Ready, Model, ModelReady, Infer };
  struct Job {
    HttpRequest request;
    HttpReply reply;
  };

  Result<Route> route(const HttpRequest& head) const;
  HttpResponse answer(Route route) const;
  std::string server_metadata() const;
  std::string model_metadata() const;
  void infer_loop();
  HttpResponse infer(const HttpRequest& request, Activity& activity);

  const InferenceModel& model_;
  const InferenceServiceOptions options_;
  scheduler::Channel<Job> jobs_;
  std::stop_source stop_;
  std::atomic<bool> ready_{true};
  std::vector<Thread> threads_;
};

}  // namespace creel::pipeline
