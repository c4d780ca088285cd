// What another user could lay in the way of the file for jps, and what earlier processes leave.
#include "management/perf_data.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <creel_test/child_process.hpp>
#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

using creel::detail::PerfData;
using creel_test::TemporaryFolder;

namespace {

namespace fs = std::filesystem;

PerfData::Options in(const fs::path& folder) { return {"tested", "1", folder.string()}; }

std::string own_name() { return std::to_string(::getpid()); }

std::string command_in(const fs::path& folder) {
  const creel::UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return creel::detail::read_perf_command(fd.get(), own_name());
}

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

std::string dead_pid() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return std::to_string(child);
}

}  // namespace

TEST_CASE("the folder for jps is refused if it is a link, a file, another user's, or open to others") {
  const TemporaryFolder folder;
  const fs::path real = folder / "real";
  fs::create_directory(real);
  SUBCASE("a link") {
    const fs::path link = folder / "link";
    fs::create_directory_symlink(real, link);
    CHECK_THROWS_AS(PerfData{in(link)}, creel::IoError);
  }
  SUBCASE("a link to nowhere") {
    const fs::path link = folder / "link";
    fs::create_directory_symlink(folder / "nowhere", link);
    CHECK_THROWS_AS(PerfData{in(link)}, creel::IoError);
    CHECK_FALSE(fs::exists(folder / "nowhere"));
  }
  SUBCASE("a file") {
    const fs::path file = folder / "file";
    std::ofstream(file) << "";
    CHECK_THROWS_AS(PerfData{in(file)}, creel::IoError);
  }
  SUBCASE("open to the world") {
    ::chmod(real.c_str(), 0757);
    CHECK_THROWS_WITH_AS(PerfData{in(real)}, doctest::Contains("can be written by another user"),
                         creel::Error);
    ::chmod(real.c_str(), 01777);  // the sticky bit keeps others from removing, not from making
    CHECK_THROWS_WITH_AS(PerfData{in(real)}, doctest::Contains("can be written by another user"),
                         creel::Error);
  }
  SUBCASE("open to the group") {
    ::chmod(real.c_str(), 0775);
    CHECK_THROWS_WITH_AS(PerfData{in(real)}, doctest::Contains("can be written by another user"),
                         creel::Error);
  }
  SUBCASE("another user's") {
    // Root makes one that is nobody's; others find one that is root's.
    const fs::path theirs = ::geteuid() == 0 ? real : fs::path("/usr");
    if (::geteuid() == 0) REQUIRE(::chown(theirs.c_str(), 65534, 65534) == 0);
    CHECK_THROWS_WITH_AS(PerfData{in(theirs)}, doctest::Contains("belongs to"), creel::Error);
    CHECK_FALSE(fs::exists(theirs / own_name()));
  }
  CHECK(fs::is_empty(real));
  { const PerfData good{in(folder / "good")}; }
}

TEST_CASE("a file, link or second name in the place of the file for jps is replaced, not written to") {
  const TemporaryFolder folder;
  const fs::path victim = folder / "victim", perf = folder / "perf";
  fs::create_directory(perf);
  std::ofstream(victim) << "precious";
  SUBCASE("a symbolic link") { fs::create_symlink(victim, perf / own_name()); }
  SUBCASE("a hard link") { fs::create_hard_link(victim, perf / own_name()); }
  SUBCASE("what a dead process with our pid left") { fs::copy_file(victim, perf / own_name()); }
  {
    const PerfData data{in(perf)};
    CHECK(fs::is_regular_file(fs::symlink_status(perf / own_name())));
    CHECK(command_in(perf) == "tested");
  }
  CHECK(fs::is_empty(perf));
  std::string text;
  std::getline(std::ifstream(victim), text);
  CHECK(text == "precious");
}

TEST_CASE("the file for jps is its owner's alone, whatever the umask") {
  const TemporaryFolder folder;
  const mode_t before = ::umask(0);
  const PerfData data{in(folder / "perf")};
  ::umask(before);
  CHECK(mode_of(folder / "perf") == 0755);
  CHECK(mode_of(folder.path() / "perf" / own_name()) == 0600);
}

TEST_CASE("of the files in the folder those of dead processes go, and only those") {
  const TemporaryFolder folder;
  const fs::path perf = folder / "perf", victim = folder / "victim";
  fs::create_directory(perf);
  std::ofstream(victim) << "precious";
  const std::string dead = dead_pid(), locked = dead_pid();
  const std::string parent = std::to_string(::getppid());  // it lives
  for (const std::string& name : {dead, locked, parent, dead + ".txt", "0" + dead, std::string("notes")})
    std::ofstream(perf / name) << "x";
  // A process of another pid namespace, whose number says nothing here, holds the lock of its file.
  const creel::UniqueFd holder(::open((perf / locked).c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(::flock(holder.get(), LOCK_EX) == 0);
  const std::string linked = dead_pid();
  fs::create_symlink(victim, perf / linked);
  const PerfData data{in(perf)};
  CHECK_FALSE(fs::exists(perf / dead));
  CHECK(fs::exists(perf / locked));
  CHECK(fs::exists(perf / parent));
  CHECK(fs::exists(perf / (dead + ".txt")));
  CHECK(fs::exists(perf / ("0" + dead)));
  CHECK(fs::exists(perf / "notes"));
  CHECK(fs::exists(victim));
}

TEST_CASE("processes are looked for in no folder that a link leads to, nor in one that another user fills") {
  const TemporaryFolder folder;
  const fs::path perf = folder / "perf";
  const PerfData data{in(perf)};
  const fs::path link = "/tmp/hsperfdata_link" + own_name();
  fs::create_directory_symlink(perf, link);
  const auto is_listed = [](const std::string& user) {
    const auto all = creel::list_processes();
    return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.user == user; });
  };
  CHECK_FALSE(is_listed("link" + own_name()));
  CHECK_FALSE(creel::read_counters(::getpid()).contains("java.threads.live"));
  fs::remove(link);
  const fs::path planted = "/tmp/hsperfdata_planted" + own_name();
  fs::copy(perf, planted, fs::copy_options::recursive);
  CHECK(is_listed("planted" + own_name()));  // our own folder counts
  const std::string user = "planted" + own_name();
  if (::geteuid() == 0) {
    CHECK(creel_test::run_in_child([&](creel_test::Expectations& expect) {
            ::chmod((planted / std::to_string(::getppid())).c_str(), 0644);
            expect(creel_test::become_user(65534), "nobody");
            expect(!is_listed(user), "root's folder is not ours");
          }) == "");
  }
  fs::remove_all(planted);
}
