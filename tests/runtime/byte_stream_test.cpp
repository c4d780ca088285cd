#include <creel/runtime/error.hpp>
#include <creel/runtime/fd_stream.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::LineReader;
using creel::Pipe;
using creel::Thread;

namespace {

Pipe pipe_with(std::string_view text) {
  Pipe pipe = Pipe::open();
  pipe.sink.write_all(text);
  return pipe;
}

}  // namespace

TEST_CASE("lines end with a newline, with or without a carriage return; the last one needs none") {
  Pipe pipe = pipe_with("one\r\n\ntwo\nlast");
  pipe.sink.close();
  std::vector<std::string> lines;
  LineReader reader(pipe.source);
  for (const std::string& line : reader) lines.push_back(line);
  CHECK(lines == std::vector<std::string>{"one", "", "two", "last"});
  CHECK_FALSE(reader.read_line());
}

TEST_CASE("the beginning of a line outlives a deadline") {
  Pipe pipe = pipe_with("half");
  LineReader lines(pipe.source);
  CHECK_THROWS_AS(lines.read_line(2ms), creel::TimeoutError);
  pipe.sink.write_all(" and half\nmore\n");
  CHECK(lines.read_line() == "half and half");
  CHECK(lines.read_line() == "more");
}

TEST_CASE("a line that is too long is refused, one that just fits is not") {
  Pipe pipe = pipe_with("12345678\r\n123456789\n");
  LineReader lines(pipe.source, 8);
  CHECK(lines.read_line() == "12345678");
  CHECK_THROWS_AS(lines.read_line(), creel::Error);
}

TEST_CASE("read_n_bytes waits until it has all, or the stream ends") {
  Pipe pipe = pipe_with("abc");
  Thread writer = Thread::of_virtual().start([&] {
    while (pipe.source.is_open() && Thread::current().state() != creel::ThreadState::Runnable)
      Thread::yield();
    pipe.sink.write_all("defgh");
    pipe.sink.close();
  });
  std::array<std::byte, 6> six{};
  CHECK(pipe.source.read_n_bytes(six) == 6);
  CHECK(six[5] == std::byte{'f'});
  CHECK(pipe.source.read_n_bytes(six) == 2);
  CHECK(pipe.source.read_n_bytes(six) == 0);
  writer.join();
}

TEST_CASE("transfer_to copies more than any buffer holds") {
  Pipe from = Pipe::open();
  Pipe to = Pipe::open();
  std::string text(1'000'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 % 251);
  Thread writer = Thread::of_virtual().start([&] {
    from.sink.write_all(text);
    from.sink.close();
  });
  std::size_t copied = 0;
  Thread copier = Thread::of_virtual().start([&] {
    copied = from.source.transfer_to(to.sink);
    to.sink.close();
  });
  CHECK(to.source.read_all_bytes() == text);
  writer.join();
  copier.join();
  CHECK(copied == text.size());
}
