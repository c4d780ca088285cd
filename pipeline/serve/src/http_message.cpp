#include "http_message.hpp"

#include <creel/pipeline/serve/inference_protocol.hpp>

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>

#include <array>
#include <ctime>

namespace creel::pipeline {
namespace {

std::string field(const HttpParser& parser, http::field name) {
  const auto value = parser.get()[name];
  return std::string(value.data(), value.size());
}

/// "Sun, 06 Nov 1994 08:49:37 GMT", whatever the locale (RFC 9110 §5.6.7).
std::string http_date(std::time_t now) {
  static constexpr std::array kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> digits{};
  std::strftime(digits.data(), digits.size(), " %Y %H:%M:%S GMT", &utc);
  const std::string day = std::to_string(utc.tm_mday);
  return std::string(kDays[static_cast<std::size_t>(utc.tm_wday)]) + (day.size() == 1 ? ", 0" : ", ") + day +
         " " + kMonths[static_cast<std::size_t>(utc.tm_mon)] + digits.data();
}

}  // namespace

HttpRequest to_request(const HttpParser& parser) {
  const auto method = parser.get().method_string();
  const auto target = parser.get().target();
  return {.method = std::string(method.data(), method.size()),
          .target = std::string(target.data(), target.size()),
          .content_type = field(parser, http::field::content_type),
          .content_encoding = field(parser, http::field::content_encoding),
          .body = {}};
}

bool expects_continue(const HttpParser& parser) {
  return parser.get().version() >= 11 &&
         boost::beast::iequals(parser.get()[http::field::expect], "100-continue");
}

std::optional<HttpResponse> check_header(const HttpParser& parser) {
  const auto& message = parser.get();
  if (message.version() >= 11 && message.count(http::field::host) != 1) {
    return error_response(400, "a request of HTTP/1.1 has one Host header (RFC 9112 §3.2)");
  }
  // A request's body has a length or is chunked; another coding leaves its end unknown (RFC 9112 §6.3).
  if (message.count(http::field::transfer_encoding) > 0 &&
      !(parser.chunked() && boost::beast::iequals(message[http::field::transfer_encoding], "chunked"))) {
    return error_response(501, "the only transfer coding that is taken is chunked");
  }
  if (message.version() >= 11 && message.count(http::field::expect) > 0 && !expects_continue(parser)) {
    return error_response(417, "the only expectation that is met is 100-continue");
  }
  return std::nullopt;
}

std::optional<HttpResponse> parse_refusal(const boost::system::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit) {
    return error_response(431, "the header is longer than " + std::to_string(limits.header_bytes) + " bytes");
  }
  if (error == http::error::body_limit) {
    return error_response(413, "the body is longer than " + std::to_string(limits.body_bytes) +
                                   " bytes; send fewer rows in one request");
  }
  if (error == http::error::bad_version)
    return error_response(505, "this server speaks HTTP/1.1 and HTTP/1.0");
  const bool ended = error == http::error::end_of_stream || error == http::error::partial_message;
  if (ended || error.category() != make_error_code(http::error::bad_method).category()) return std::nullopt;
  return error_response(400, "not an HTTP request: " + error.message());
}

HttpResponse error_response(unsigned status, std::string_view message) {
  HttpResponse response{.status = status, .body = error_json(message)};
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

http::response<http::string_body> to_message(HttpResponse&& response, unsigned version, bool keep_alive,
                                             bool head) {
  http::response<http::string_body> message{static_cast<http::status>(response.status), version};
  message.set(http::field::server, "creel");
  message.set(http::field::date, http_date(std::time(nullptr)));
  if (!response.body.empty()) message.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_alive);
  message.content_length(response.body.size());
  if (!head) message.body() = std::move(response.body);
  return message;
}

}  // namespace creel::pipeline
