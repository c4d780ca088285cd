#include <creel/pipeline/serve/inference_service.hpp>
#include <creel/runtime/log.hpp>

#include <algorithm>
#include <cctype>
#include <exception>

namespace creel::pipeline {
namespace {

constexpr std::string_view kVersion = "1";

HttpResponse json(unsigned status, std::string body) { return {.status = status, .body = std::move(body)}; }
HttpResponse refusal(unsigned status, std::string_view message) { return json(status, error_json(message)); }

HttpResponse busy(std::string_view message) {
  HttpResponse response = refusal(503, message);
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// One segment of a path without its %XX; as it stands where they are malformed (no name matches it then).
std::string decode_percent(std::string_view segment) {
  std::string text;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    const bool escape = segment[i] == '%' && i + 2 < segment.size();
    const int high = escape ? hex_digit(segment[i + 1]) : -1;
    const int low = escape ? hex_digit(segment[i + 2]) : -1;
    if (high < 0 || low < 0) {
      text += segment[i];
    } else {
      text += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return text;
}

/// The path of a request's target: without the query, and without scheme and host where a proxy's form gives
/// them.
std::string_view path_of(std::string_view target) {
  target = target.substr(0, target.find_first_of("?#"));
  if (const std::size_t scheme = target.find("://");
      scheme != std::string_view::npos && target.front() != '/') {
    const std::size_t path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? "/" : target.substr(path);
  }
  return target;
}

std::vector<std::string> segments(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    parts.push_back(decode_percent(path.substr(0, end)));
    path.remove_prefix(end);
  }
  return parts;
}

/// "application/json; charset=utf-8" is application/json.
bool is_json(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && (content_type.back() == ' ' || content_type.back() == '\t')) {
    content_type.remove_suffix(1);
  }
  return std::ranges::equal(content_type, std::string_view("application/json"), {},
                            [](char c) { return std::tolower(static_cast<unsigned char>(c)); });
}

/// Characters of a log line or a dump that a client chose: the printable ones, not too many.
std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string kept(text.substr(0, kLongest));
  std::ranges::replace_if(
      kept, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return kept;
}

std::string line_of(const HttpRequest& request) {
  return printable(request.method) + " " + printable(request.target);
}

}  // namespace

InferenceService::InferenceService(const InferenceModel& model, InferenceServiceOptions options)
    : model_(model), options_(options), jobs_("http", "infer", options.queue) {
  Thread::Builder builder = Thread::of_platform().name("infer-", 0);
  try {
    for (int i = 0; i < options_.threads; ++i) threads_.push_back(builder.start([this] { infer_loop(); }));
  } catch (...) {
    stop();
    throw;
  }
}

InferenceService::~InferenceService() { stop(); }

void InferenceService::stop() noexcept {
  ready_ = false;
  stop_.request_stop();
  jobs_.close();
  for (std::size_t i = 0; i < threads_.size();) {
    try {
      threads_[i].join();
      ++i;
    } catch (const InterruptedError&) {
      // The threads end by stop_ and close(), whatever interrupts the one that waits for it.
    }
  }
  threads_.clear();
}

std::string InferenceService::infer_path() const { return "/v2/models/" + model_.name() + "/infer"; }

/// The failure's message is the 404's.
Result<InferenceService::Route> InferenceService::route(const HttpRequest& head) const {
  const std::string_view path = path_of(head.target);
  const auto unknown = [&] {
    return Failure{ErrorCode::Missing,
                   "nothing at " + printable(path) + "; there are /v2, /v2/health/live, " +
                       "/v2/health/ready, /v2/models/" + model_.name() + ", and its /ready and " + "/infer"};
  };
  if (path.empty() || path.front() != '/') return unknown();
  std::vector<std::string> parts = segments(path);
  if (parts.empty() || parts[0] != "v2") return unknown();
  if (parts.size() == 1) return Route::Server;
  if (parts.size() == 3 && parts[1] == "health") {
    if (parts[2] == "live") return Route::Live;
    if (parts[2] == "ready") return Route::Ready;
    return unknown();
  }
  if (parts.size() < 3 || parts[1] != "models") return unknown();
  if (parts[2] != model_.name()) {
    return Failure{ErrorCode::Missing,
                   "no model " + printable(parts[2]) + " here; there is " + model_.name()};
  }
  const std::size_t next = parts.size() >= 5 && parts[3] == "versions" ? 5 : 3;
  if (next == 5 && parts[4] != kVersion) {
    return Failure{ErrorCode::Missing, "model " + model_.name() + " has no version " + printable(parts[4]) +
                                           "; it has " + std::string(kVersion)};
  }
  if (parts.size() == next) return Route::Model;
  if (parts.size() == next + 1 && parts[next] == "ready") return Route::ModelReady;
  if (parts.size() == next + 1 && parts[next] == "infer") return Route::Infer;
  return unknown();
}

std::optional<HttpResponse> InferenceService::refuse(const HttpRequest& head) {
  const Result<Route> found = route(head);
  if (!found) return refusal(404, found.failure().message);
  const bool infer = *found == Route::Infer;
  const bool allowed = infer ? head.method == "POST" : head.method == "GET" || head.method == "HEAD";
  if (!allowed) {
    const std::string_view methods = infer ? "POST" : "GET, HEAD";
    HttpResponse response = refusal(405, "this takes " + std::string(methods));
    response.headers.emplace_back("Allow", methods);
    return response;
  }
  if (!infer) return std::nullopt;
  if (!head.content_encoding.empty() && head.content_encoding != "identity") {
    return refusal(415, "the body is sent with a Content-Encoding; send it as it is");
  }
  // Clients of the protocol send none or JSON; curl's -d without -H sends a form's.
  if (!head.content_type.empty() && !is_json(head.content_type)) {
    return refusal(
        415, "the body must be JSON: send Content-Type: application/json (binary tensors are not taken)");
  }
  return std::nullopt;
}

void InferenceService::handle(HttpRequest request, HttpReply reply) {
  const Activity activity(line_of(request));
  const Route found = *route(request);
  if (found != Route::Infer) return reply(answer(found));
  try {
    // Full: the exception costs less than what the request would have.
    if (!jobs_.put(Job{std::move(request), reply}, Deadline::now())) reply(busy("the server is stopping"));
  } catch (const TimeoutError&) {
    reply(
        busy("all " + std::to_string(options_.queue) + " places for waiting requests are taken; try again"));
  }
}

HttpResponse InferenceService::answer(Route route) const {
  const bool ready = ready_;
  switch (route) {
    case Route::Server:
      return json(200, server_metadata());
    case Route::Live:
      return json(200, R"({"live":true})");
    case Route::Model:
      return json(200, model_metadata());
    case Route::Ready:
      return json(ready ? 200 : 503, ready ? R"({"ready":true})" : R"({"ready":false})");
    default:
      break;
  }
  const std::string name = R"({"name":")" + model_.name() + R"(","ready":)";
  return json(ready ? 200 : 503, name + (ready ? "true}" : "false}"));
}

std::string InferenceService::server_metadata() const {
  return R"({"name":"creel","version":")" CREEL_VERSION R"(","extensions":[]})";
}

std::string InferenceService::model_metadata() const {
  return R"({"name":")" + model_.name() + R"(","versions":[")" + std::string(kVersion) +
         R"("],"platform":"creel","inputs":)" + to_json(model_.inputs()) + R"(,"outputs":)" +
         to_json(model_.outputs()) + "}";
}

void InferenceService::infer_loop() {
  model_.enter_thread();
  for (Job& job : jobs_) {
    Activity activity(line_of(job.request));
    HttpResponse response;
    try {
      response = stop_.stop_requested() ? busy("the server is stopping") : infer(job.request, activity);
    } catch (const CancelledError&) {
      response = busy("the server is stopping");
    } catch (const std::exception& error) {
      log::error("infer.failed", {{"request", line_of(job.request)}, {"error", error.what()}});
      response = refusal(500, error.what());
    }
    job.reply(std::move(response));
  }
}

HttpResponse InferenceService::infer(const HttpRequest& http, Activity& activity) {
  const Result<InferRequest> request =
      parse_infer_request(http.body, model_.inputs(), model_.outputs(), options_.max_rows);
  if (!request) return refusal(400, request.failure().message);
  const std::int64_t rows = request.value().rows();
  activity.set(line_of(http) + ", " + std::to_string(rows) + (rows == 1 ? " row" : " rows"));

  Result<std::vector<InferTensor>> outputs = model_.infer(request.value(), stop_.get_token());
  if (!outputs) return refusal(400, outputs.failure().message);
  return json(200, to_json(InferResponse{.model_name = model_.name(),
                                         .model_version = std::string(kVersion),
                                         .id = request.value().id,
                                         .outputs = std::move(*outputs)}));
}

}  // namespace creel::pipeline
