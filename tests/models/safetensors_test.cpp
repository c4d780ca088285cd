// Checkpoints as files: what is written is read back, and what is not a valid file is refused by name.

#include <creel/models/functional.hpp>
#include <creel/models/safetensors.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

using namespace creel::models;
using creel::nn::Tensor;
using creel::nn::TensorMap;
using creel_test::TemporaryFolder;

namespace {

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string file_of(const std::string& header, std::size_t data_size) {
  const std::uint64_t size = header.size();
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes + header + std::string(data_size, '\1');
}

/// The message with which a file of these bytes is refused; it must name the file.
std::string refusal(const std::string& bytes) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "bad.safetensors";
  write(path, bytes);
  try {
    load_safetensors(path);
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Data);
    CHECK(std::string(error.what()).find(path.string()) == 0);
    return error.what();
  }
  return "was not refused";
}

std::string entry(const std::string& name, const std::string& shape, const std::string& offsets,
                  const std::string& dtype = "F32") {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TensorMap some_tensors() {
  at::Generator generator = creel::nn::make_generator(1);
  Tensor a = creel::nn::empty({3, 5});
  creel::nn::normal_(a, 0, 1, generator);
  return {{"a", a},
          {"b.transposed", a.t()},
          {"c.half", a.to(at::kHalf)},
          {"d.bfloat", a.to(at::kBFloat16)},
          {"e.double", a.to(at::kDouble)},
          {"f.long", creel::nn::arange(4, a)},
          {"g.bool", a.gt(0)},
          {"h.scalar", creel::nn::full({}, 2.5)},
          {"i.empty", creel::nn::empty({0, 7})},
          {"j \"quoted\" \\ é", a.to(at::kInt)}};
}

}  // namespace

TEST_CASE("tensors of every type come back bit for bit") {
  const TemporaryFolder folder;
  const TensorMap tensors = some_tensors();
  save_safetensors(folder / "x.safetensors", tensors, {{"step", "7"}});
  const SafeTensors loaded = load_safetensors(folder / "x.safetensors");
  CHECK(loaded.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"step", "7"}});
  REQUIRE(loaded.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CHECK((loaded.tensors.at(name).scalar_type() == tensor.scalar_type()));
    CHECK_MESSAGE(loaded.tensors.at(name).equal(tensor), name);
  }
}

TEST_CASE("the data of a written file is aligned and nothing else is left in the folder") {
  const TemporaryFolder folder;
  save_safetensors(folder / "x.safetensors", some_tensors());
  std::uint64_t header = 0;
  std::memcpy(&header, read(folder / "x.safetensors").data(), sizeof header);
  CHECK(header % 8 == 0);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a file cut anywhere is refused") {
  const TemporaryFolder folder;
  save_safetensors(folder / "x.safetensors", {{"weight", creel::nn::ones({4, 4})}});
  const std::string whole = read(folder / "x.safetensors");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CHECK_MESSAGE(refusal(whole.substr(0, size)) != "was not refused", "cut at " << size);
  }
  CHECK(contains(refusal(whole.substr(0, whole.size() - 1)),
                 "tensor 'weight': offsets [0, 64) are outside the 63 bytes"));
}

TEST_CASE("malicious headers are refused by tensor and reason") {
  const std::string good = "{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[8,16]") + "}";
  {
    const TemporaryFolder folder;
    write(folder / "good.safetensors", file_of(good, 16));
    CHECK(load_safetensors(folder / "good.safetensors").tensors.size() == 2);
  }
  CHECK(contains(refusal(file_of(good, 17)), "1 bytes after the last tensor"));
  CHECK(contains(
      refusal(file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[4,12]") + "}", 12)),
      "tensor 'b': its data overlaps"));
  CHECK(
      contains(refusal(file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("b", "[2]", "[0,8]") + "}", 8)),
               "overlaps"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[4,12]") + "}", 12)),
                 "tensor 'a': there is a hole of 4 bytes"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[8,0]") + "}", 8)), "tensor 'a': offsets [8, 0)"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[3]", "[0,8]") + "}", 8)),
                 "hold 8 bytes, type and shape need 12"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[0,18446744073709551615]") + "}", 8)),
                 "outside the 8 bytes"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[0,18446744073709551616]") + "}", 8)),
                 "not an unsigned integer"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[4294967296,4294967296,4]", "[0,0]") + "}", 0)),
                 "overflows"));
  CHECK(contains(
      refusal(file_of("{" + entry("a", "[9223372036854775807,9223372036854775807]", "[0,0]") + "}", 0)),
      "overflows"));
  CHECK(
      contains(refusal(file_of("{" + entry("a", "[18446744073709551615]", "[0,0]") + "}", 0)), "overflows"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[-2]", "[0,8]") + "}", 8)),
                 "an extent of its shape is not an unsigned integer: -2"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2.0]", "[0,8]") + "}", 8)), "not an unsigned integer"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[0]") + "}", 8)), "data_offsets"));
  CHECK(contains(refusal(file_of("{" + entry("a", "2", "[0,8]") + "}", 8)), "its shape is not a list"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[2]", "[0,8]", "F33") + "}", 8)),
                 "type \"F33\" is not one of F64"));
  CHECK(contains(
      refusal(file_of("{" + entry("a", "[2]", "[0,8]") + "," + entry("a", "[2]", "[8,16]") + "}", 16)),
      "the key 'a' twice"));
  CHECK(
      contains(refusal(file_of(
                   "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8)),
               "the key 'dtype' twice"));
  CHECK(contains(refusal(file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8)),
                 "dtype, shape and data_offsets"));
  CHECK(contains(refusal(file_of("{\"__metadata__\":{\"x\":1}}", 0)), "'x' is no text"));
  CHECK(contains(refusal(file_of("[1]", 0)), "no JSON object"));
  CHECK(contains(refusal(file_of("{\"a\":", 0)), "no JSON"));
  CHECK(contains(refusal(file_of(std::string("{\"\xff\":1}"), 0)), "no JSON"));
  CHECK(contains(refusal(file_of("{" + entry("a", "[1]", "[0,4]"), 4)), "no JSON"));
}

TEST_CASE("a header as deep as it is long is refused") {
  CHECK(refusal(file_of("{\"a\":" + std::string(200'000, '['), 0)) != "was not refused");
}

TEST_CASE("a header that says it is huge is refused before memory is taken") {
  std::string bytes = file_of("{}", 0);
  const std::uint64_t huge = 100'000'001;
  std::memcpy(bytes.data(), &huge, sizeof huge);
  CHECK(contains(refusal(bytes), "over the limit of 100 MB"));
  const std::uint64_t wrapping = ~std::uint64_t{0};
  std::memcpy(bytes.data(), &wrapping, sizeof wrapping);
  CHECK(contains(refusal(bytes), "over the limit"));
  const std::uint64_t longer = 50;
  std::memcpy(bytes.data(), &longer, sizeof longer);
  CHECK(contains(refusal(bytes), "a header of 50 bytes in a file of 10"));
}

TEST_CASE("a file that is not there says so") {
  const TemporaryFolder folder;
  try {
    load_safetensors(folder / "none.safetensors");
    FAIL("nothing was thrown");
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Missing);
  }
}

TEST_CASE("a write that fails keeps the previous file and names path and size") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "x.safetensors";
  save_safetensors(path, {{"weight", creel::nn::ones({4})}});
  const std::string before = read(path);

  struct rlimit old {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const struct rlimit small { 4096, old.rlim_max };
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  try {
    save_safetensors(path, {{"weight", creel::nn::ones({100'000})}});
  } catch (const creel::IoError& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  CHECK(contains(message, "cannot write 400112 bytes"));
  CHECK(contains(message, path.string()));
  CHECK(read(path) == before);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a state dict that does not fit is refused whole, each tensor named") {
  const TensorMap destination{
      {"a", creel::nn::zeros({2})}, {"b", creel::nn::zeros({3})}, {"c", creel::nn::zeros({1})}};
  const TensorMap source{{"a", creel::nn::ones({2})},
                         {"b", creel::nn::ones({4})},
                         {"d", creel::nn::ones({1})},
                         {"x.position_ids", creel::nn::zeros({1, 8}, at::kLong)}};
  try {
    load_tensors(destination, source, "old.safetensors");
    FAIL("nothing was thrown");
  } catch (const creel::Error& error) {
    const std::string message = error.what();
    CHECK(contains(message, "old.safetensors: 3 tensors do not fit"));
    CHECK(contains(message, "b: shape [4], expected [3]"));
    CHECK(contains(message, "c: missing"));
    CHECK(contains(message, "d: unknown"));
    CHECK_FALSE(contains(message, "position_ids"));
  }
  CHECK(destination.at("a").eq(0).all().item<bool>());
  CHECK_THROWS_WITH_AS(
      load_tensors({{"a", creel::nn::zeros({2})}}, {{"a", creel::nn::zeros({2}, at::kLong)}}, "x"),
      doctest::Contains("a: type Long, expected Float"), creel::Error);
}

TEST_CASE("half precision weights load into float32 parameters") {
  const TensorMap destination{{"a", creel::nn::zeros({2})}, {"b", creel::nn::zeros({2})}};
  load_tensors(destination,
               {{"a", creel::nn::full({2}, 1.5, at::kHalf)}, {"b", creel::nn::full({2}, 2.5, at::kBFloat16)}},
               "x");
  CHECK(destination.at("a").eq(1.5).all().item<bool>());
  CHECK(destination.at("b").eq(2.5).all().item<bool>());
}
