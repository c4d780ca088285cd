#include "data_files.hpp"

#include <creel/pipeline/data/source.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

using creel::pipeline::Bytes;
using creel::pipeline::open_source;
using creel::pipeline::Sample;
using creel::pipeline::Source;
using creel_test::bytes_of;
using creel_test::TarFile;
using creel_test::TemporaryFolder;

namespace {

std::unique_ptr<Source> open(const std::filesystem::path& path) {
  return open_source({.format = "tar_shards", .path = path.string()});
}

std::unique_ptr<Source> open(const TarFile& tar) {
  const TemporaryFolder folder;
  tar.save(folder / "t.tar");
  return open(folder / "t.tar");
}

std::string refusal(const TarFile& tar) {
  try {
    open(tar);
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Data);
    const std::string message = error.what();
    return message.substr(message.find("t.tar"));  // the folder has a random name
  }
  return "accepted";
}

std::string text(const Sample& sample, std::string_view field) {
  const auto* const bytes = sample.get<Bytes>(field);
  return bytes == nullptr ? "none" : std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

}  // namespace

TEST_CASE("files that share a stem are one sample, in the order of the archive and of the shards") {
  const TemporaryFolder folder;
  creel_test::write_shard(folder / "train-000.tar", 0, 3);
  creel_test::write_shard(folder / "train-001.tar", 3, 2);
  const auto source = open(folder / "train-{000..001}.tar");
  REQUIRE(source->size() == 5);
  CHECK(source->key(0) == "000000 of train-000.tar");
  CHECK(source->key(4) == "000004 of train-001.tar");
  const Sample sample = source->read(4).value();
  CHECK(sample.key == "000004 of train-001.tar");
  CHECK(sample.index == 4);
  CHECK(text(sample, "txt") == "sample 4\n");
  CHECK(text(sample, "cls") == "4");
  CHECK(*sample.get<Bytes>("png") == creel_test::pattern_png(8, 8, 4));
}

TEST_CASE("a name ends at the first dot of its last part, extensions lose their case, the rest is no field") {
  TarFile tar;
  tar.add("dir.v1/a.seg.png", "1");
  tar.add("dir.v1/a.TXT", "2");
  tar.add("dir.v2/a.txt", "3");
  tar.add("README", "no extension");
  tar.add(".hidden", "hidden");
  tar.add("__key__.txt", "WebDataset's own");
  tar.add({.name = "dir.v3", .type = '5'}, {});
  tar.add({.name = "link.txt", .type = '2'}, {});
  tar.end();
  const auto source = open(tar);
  REQUIRE(source->size() == 2);
  CHECK(text(source->read(0).value(), "seg.png") == "1");
  CHECK(text(source->read(0).value(), "txt") == "2");
  CHECK(text(source->read(1).value(), "txt") == "3");
}

TEST_CASE("long names of ustar, pax and GNU are read") {
  const std::string deep(90, 'd');
  TarFile tar;
  tar.add({.name = "a.txt", .prefix = deep}, bytes_of("ustar"));
  const std::string path = deep + "/" + std::string(90, 'n') + ".txt";
  std::string record = " path=" + path + "\n";
  record = std::to_string(record.size() + 3) + record;
  tar.add({.name = "pax", .type = 'x'}, bytes_of(record));
  tar.add("short.txt", "pax");
  tar.add({.name = "././@LongLink", .type = 'L'}, bytes_of(std::string(120, 'g') + ".txt" + '\0'));
  tar.add("short.txt", "gnu");
  tar.add("plain.txt", "plain");  // the overrides are for one member only
  tar.end();
  const auto source = open(tar);
  REQUIRE(source->size() == 4);
  CHECK(source->key(1).starts_with("nnnn"));
  CHECK(text(source->read(1).value(), "txt") == "pax");
  CHECK(source->key(2) == std::string(120, 'g') + " of t.tar");
  CHECK(source->key(3) == "plain of t.tar");
}

TEST_CASE("sizes in base 256 and in pax records are taken") {
  TarFile tar;
  std::string binary(12, '\0');
  binary[0] = '\x80';
  binary[11] = 3;
  tar.add({.name = "a.txt", .size_field = binary}, bytes_of("abc"));
  tar.add({.name = "pax", .type = 'x'}, bytes_of("10 size=4\n"));
  tar.add({.name = "b.txt", .size_field = "00000000000"}, bytes_of("abcd"));
  tar.end();
  const auto source = open(tar);
  CHECK(text(source->read(0).value(), "txt") == "abc");
  CHECK(text(source->read(1).value(), "txt") == "abcd");
}

TEST_CASE("an archive may lack its end blocks, and even its last padding") {
  TarFile tar;
  tar.add("a.txt", "abc");
  CHECK(open(tar)->size() == 1);
  tar.bytes().resize(512 + 3);
  CHECK(text(open(tar)->read(0).value(), "txt") == "abc");
}

TEST_CASE("a truncated archive is named with the member and the bytes") {
  TarFile tar;
  tar.add("a.txt", "abc");
  tar.add("b.txt", std::string(2000, 'b'));
  tar.bytes().resize(1024 + 512 + 100);
  CHECK(refusal(tar) == "t.tar: truncated tar archive: b.txt has 2000 bytes, but 100 are left at byte 1024");
  tar.bytes().resize(1024 + 100);
  CHECK(refusal(tar) == "t.tar: truncated tar archive: half a header at byte 1024");
}

TEST_CASE("hostile headers are refused") {
  const auto with = [](const TarFile::Member& member, std::string_view content = "") {
    TarFile tar;
    tar.add(member, bytes_of(content));
    tar.end();
    return refusal(tar);
  };
  std::string huge(12, '\xFF');
  huge[0] = '\x80';
  CHECK(with({.name = "a.txt", .size_field = huge}) == "t.tar: damaged tar archive: bad size at byte 0");
  CHECK(with({.name = "a.txt", .size_field = std::string(12, '\xFF')}) ==
        "t.tar: damaged tar archive: bad size at byte 0");
  std::string large(12, '\0');
  large[0] = '\x80';
  large[4] = '\x7F';
  for (std::size_t i = 5; i < 12; ++i) large[i] = '\xFF';  // 2^63 - 1: offset + size would overflow
  CHECK(with({.name = "a.txt", .size_field = large}) ==
        "t.tar: truncated tar archive: a.txt has 9223372036854775807 bytes, but 1024 are left at byte 0");
  CHECK(with({.name = "a.txt", .size_field = "77777777777"}) ==
        "t.tar: truncated tar archive: a.txt has 8589934591 bytes, but 1024 are left at byte 0");
  CHECK(with({.name = "a.txt", .size_field = "-1"}) == "t.tar: damaged tar archive: bad size at byte 0");
  CHECK(with({.name = "a.txt", .wrong_checksum = true}) == "t.tar: not a tar archive: bad header at byte 0");
  CHECK(with({.name = "x", .type = 'x'}, "999999999999999999999 path=a\n") ==
        "t.tar: damaged tar archive: bad pax record at byte 0");
  CHECK(with({.name = "x", .type = 'x'}, "99 path=a\n") ==
        "t.tar: damaged tar archive: bad pax record at byte 0");
  CHECK(with({.name = "x", .type = 'x'}, "0 \n") == "t.tar: damaged tar archive: bad pax record at byte 0");
  CHECK(with({.name = "x", .type = 'x'}, "24 size=9999999999999999\n") ==
        "t.tar: damaged tar archive: bad pax record at byte 0");
  CHECK(with({.name = "x", .type = 'x'}, "12 size=1e9\n") ==
        "t.tar: damaged tar archive: bad pax size at byte 0");
  CHECK(with({.name = "x", .type = 'L'}, std::string((1 << 20) + 1, 'n')) ==
        "t.tar: damaged tar archive: extended header of 1048577 bytes at byte 0");
  CHECK(with({.name = "s.txt", .type = 'S'}) ==
        "t.tar: sparse member s.txt; pack it without --sparse at byte 0");
  TarFile endless;  // 2^64 - 1 bytes: offset + size is less than offset
  endless.add({.name = "x", .type = 'x'}, bytes_of("29 size=18446744073709551615\n"));
  endless.add("a.txt", "abc");
  endless.end();
  CHECK(refusal(endless) ==
        "t.tar: truncated tar archive: a.txt has 18446744073709551615 bytes, but 1536 are left at byte 1024");
  TarFile twice;
  twice.add("a.txt", "1");
  twice.add("a.txt", "2");
  CHECK(refusal(twice) == "t.tar: sample a has two fields .txt");
}

TEST_CASE("what is not a tar archive, or has no samples, is refused") {
  TarFile text_file;
  text_file.bytes() = std::string(5000, 'x');
  CHECK(refusal(text_file) == "t.tar: not a tar archive: bad header at byte 0");
  CHECK(refusal(TarFile()) == "t.tar: empty file, not a tar archive at byte 0");
  TarFile nothing;
  nothing.end();
  CHECK(refusal(nothing) == "t.tar: no samples in these archives");
}

TEST_CASE("a shard that is not there is Missing, by name") {
  try {
    open(std::filesystem::path("/nonexistent/train.tar"));
    FAIL("accepted");
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Missing);
    CHECK(std::string(error.what()) == "/nonexistent/train.tar: no such file");
  }
}

TEST_CASE("an unknown format is refused with the nearest one") {
  CHECK_THROWS_WITH(open_source({.format = "tar_shard", .path = "x"}),
                    "no data format is called 'tar_shard'; use tar_shards");
}
