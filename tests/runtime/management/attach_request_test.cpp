#include "management/attach_request.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>

using creel::detail::AttachRequestParser;
using State = AttachRequestParser::State;
using namespace std::string_view_literals;

TEST_CASE("a version 1 request is a command and three arguments") {
  AttachRequestParser parser;
  CHECK(parser.feed("1\0threaddump\0-l\0\0\0"sv) == State::Complete);
  CHECK(parser.request().command == "threaddump");
  CHECK(parser.request().arguments == std::vector<std::string>{"-l", "", ""});
}

TEST_CASE("a request may come byte by byte") {
  for (const std::string_view whole : {"1\0jcmd\0Thread.print -l\0\0\0"sv,
                                       "2\0"
                                       "33\0jcmd streaming=1\0Thread.print -l\0\0\0"sv}) {
    AttachRequestParser parser;
    const std::string_view bytes = whole.substr(0, whole.size());
    std::size_t used = 0;
    State state = State::Incomplete;
    while (state == State::Incomplete && used < bytes.size()) state = parser.feed(bytes.substr(used++, 1));
    CHECK(state == State::Complete);
    CHECK(parser.request().command == "jcmd");
    CHECK(parser.request().arguments.at(0) == "Thread.print -l");
  }
}

TEST_CASE("a version 2 request has its size, options and any number of arguments") {
  AttachRequestParser parser;
  CHECK(parser.feed("2\0"
                    "24\0threaddump streaming=1\0"sv) == State::Incomplete);
  AttachRequestParser whole;
  CHECK(whole.feed("2\0"
                   "24\0threaddump streaming=1\0\0"sv) == State::Complete);
  CHECK(whole.request().command == "threaddump");
  CHECK(whole.request().arguments.at(0).empty());
}

TEST_CASE("wrong versions, long fields and wrong sizes are refused") {
  CHECK(AttachRequestParser().feed("3\0x\0\0\0\0"sv) == State::BadVersion);
  CHECK(AttachRequestParser().feed("GET / HTTP/1.1\r\n") == State::BadVersion);
  CHECK(AttachRequestParser().feed("1\0"
                                   "12345678901234567\0"sv) == State::Malformed);
  CHECK(AttachRequestParser().feed(std::string("1\0jcmd\0"sv) + std::string(1025, 'x')) == State::Malformed);
  CHECK(AttachRequestParser().feed("2\0"
                                   "999999999\0"sv) == State::Malformed);
  CHECK(AttachRequestParser().feed("2\0-5\0abc"sv) == State::Malformed);
  CHECK(AttachRequestParser().feed("2\0"
                                   "3\0abc"sv) == State::Malformed);
}

TEST_CASE("no bytes lead the parser astray") {
  std::mt19937 random(7);
  const std::string_view alphabet = "12\0\0\0\0\0jcmd 9-x"sv;
  for (int round = 0; round < 20'000; ++round) {
    AttachRequestParser parser;
    State state = State::Incomplete;
    for (int piece = 0; piece < 20 && state == State::Incomplete; ++piece) {
      std::string bytes;
      for (auto i = random() % 40; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
      state = parser.feed(bytes);
    }
    if (state == State::Complete) CHECK(parser.request().arguments.size() >= 3);
  }
}
