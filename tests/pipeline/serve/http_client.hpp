#pragma once

#include <creel/runtime/unique_fd.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

namespace creel_test {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;
};

/// A socket to a server on this machine, with no opinion of HTTP on the way out. Every wait ends after 10 s:
/// a test of a server that hangs fails.
class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port)
      : port_(port), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect");
    }
  }

  /// False if the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  std::uint16_t port() const { return port_; }

  void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }

  /// The next answer; `head`: it was asked for by HEAD and has no body. Status 0 if the server closes
  /// instead.
  HttpAnswer read(bool head = false) {
    HttpAnswer answer;
    std::size_t end = 0;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return answer;
    }
    parse_header(received_.substr(0, end + 2), answer);
    received_.erase(0, end + 4);
    const std::size_t length = head ? 0 : std::stoul("0" + answer.headers["content-length"]);
    while (received_.size() < length) {
      if (!receive()) throw std::runtime_error("the server closed within a body");
    }
    answer.body = received_.substr(0, length);
    received_.erase(0, length);
    return answer;
  }

  HttpAnswer ask(std::string_view request) {
    send(request);
    return read();
  }

  /// The one of two that has something to read first.
  static HttpClient& first_answered(HttpClient& a, HttpClient& b) {
    pollfd ready[2] = {{a.fd_.get(), POLLIN, 0}, {b.fd_.get(), POLLIN, 0}};
    if (::poll(ready, 2, 10'000) <= 0) throw std::runtime_error("the server is silent");
    return ready[0].revents != 0 ? a : b;
  }

  /// True if the server closes without another byte.
  bool closed() { return received_.empty() && !receive(); }

 private:
  bool receive() {
    pollfd ready{fd_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) == 0) throw std::runtime_error("the server is silent");
    char bytes[65536];
    const ssize_t count = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    received_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }

  static void parse_header(const std::string& text, HttpAnswer& answer) {
    std::size_t line = text.find("\r\n") + 2;
    answer.status = std::stoi(text.substr(9, 3));
    while (line < text.size()) {
      const std::size_t end = text.find("\r\n", line);
      const std::size_t colon = text.find(": ", line);
      std::string name = text.substr(line, colon - line);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      answer.headers[name] = text.substr(colon + 2, end - colon - 2);
      line = end + 2;
    }
  }

  std::uint16_t port_;
  creel::UniqueFd fd_;
  std::string received_;
};

inline std::string get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n\r\n";
}

inline std::string post(std::string_view path, std::string_view body, std::string_view headers = "") {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n" +
         std::string(headers) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

}  // namespace creel_test
