#include <creel/pipeline/serve/base64.hpp>

#include <doctest/doctest.h>

#include <string>

using creel::pipeline::decode_base64;
using creel::pipeline::encode_base64;

TEST_CASE("base64: the vectors of RFC 4648 §10") {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    CHECK(encode_base64(bytes) == text);
    CHECK(decode_base64(text) == bytes);
  }
}

TEST_CASE("base64: all bytes come back, in both alphabets, without padding and over lines") {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  std::string text = encode_base64(bytes);
  CHECK(decode_base64(text) == bytes);
  std::string url = text.substr(0, text.find('='));
  for (char& c : url) c = c == '+' ? '-' : c == '/' ? '_' : c;
  CHECK(url != text);
  CHECK(decode_base64(url) == bytes);
  text.insert(76, "\r\n");
  CHECK(decode_base64(text) == bytes);
}

TEST_CASE("base64: what is none is refused") {
  for (const char* text : {"A", "AAAAA", "A===", "Zg=", "Zg===", "Zm9v=", "Z=g=", "Zg==Zg==", "Zm9*",
                           "data:image/png", "Zh==", "Zm9=", "\xc3\xa9"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_base64(text).has_value());
  }
}
