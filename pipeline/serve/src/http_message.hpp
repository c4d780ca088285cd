#pragma once

#include <creel/pipeline/serve/http_server.hpp>

// Asio's headers need <utility> before them (Boost 1.74 under C++20).
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/error_code.hpp>

#include <utility>

namespace creel::pipeline {

namespace http = boost::beast::http;
using HttpParser = http::request_parser<http::string_body>;

/// What of a parsed header the handler sees.
HttpRequest to_request(const HttpParser& parser);

/// The refusal of a header that is HTTP to the parser and yet breaks a rule: no Host, an Expect or a transfer
/// coding that nobody knows.
std::optional<HttpResponse> check_header(const HttpParser& parser);
bool expects_continue(const HttpParser& parser);

/// The answer to what the parser could not take; nothing if the connection itself failed or ended.
std::optional<HttpResponse> parse_refusal(const boost::system::error_code& error, const HttpLimits& limits);

HttpResponse error_response(unsigned status, std::string_view message);

/// The message for the wire. `head`: the request was HEAD, so the body goes unsent and only its length is
/// told.
http::response<http::string_body> to_message(HttpResponse&& response, unsigned version, bool keep_alive,
                                             bool head);

}  // namespace creel::pipeline
