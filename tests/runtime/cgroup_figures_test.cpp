#include "creel_test/temporary_folder.hpp"

#include <creel/runtime/cgroup_figures.hpp>

#include <doctest/doctest.h>

#include <fstream>
#include <string_view>

using creel::CgroupFigures;
using std::chrono::microseconds;
namespace fs = std::filesystem;

namespace {

void write(const fs::path& file, std::string_view text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

}  // namespace

TEST_CASE("version 2: the group's figures, and the least limit on the way up") {
  const creel_test::TemporaryFolder root;
  write(root / "proc/cgroup", "0::/shop/desk\n");
  write(root / "proc/mountinfo",
        "22 1 0:20 / /proc rw - proc proc rw\n"
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
  const fs::path top = root / "sys/fs/cgroup";
  write(top / "shop/memory.max", "1048576\n");
  write(top / "shop/cpu.max", "max 100000\n");
  const fs::path group = top / "shop/desk";
  write(group / "memory.max", "2097152\n");
  write(group / "memory.current", "4096\n");
  write(group / "memory.peak", "8192\n");
  write(group / "memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n");
  write(group / "cpu.max", "150000 100000\n");
  write(group / "cpu.stat",
        "usage_usec 123\nuser_usec 100\nsystem_usec 23\nnr_periods 7\nnr_throttled 2\nthrottled_usec 99\n");
  write(group / "pids.max", "max\n");
  write(group / "pids.current", "5\n");
  write(group / "memory.pressure",
        "some avg10=1.50 avg60=2.25 avg300=3.00 total=42\nfull avg10=0.50 avg60=0.25 avg300=0.00 total=7\n");
  const CgroupFigures figures = CgroupFigures::read(root / "proc", root.path());
  CHECK(figures.version == 2);
  CHECK(figures.memory_limit == 1048576);
  CHECK(figures.memory_usage == 4096);
  CHECK(figures.memory_peak == 8192);
  CHECK(figures.oom_kills == 1);
  CHECK(figures.cpu_limit == doctest::Approx(1.5));
  CHECK(figures.cpu_usage == microseconds(123));
  CHECK(figures.periods == 7);
  CHECK(figures.throttled_periods == 2);
  CHECK(figures.throttled_time == microseconds(99));
  CHECK_FALSE(figures.process_limit);
  CHECK(figures.process_count == 5);
  REQUIRE(figures.memory_pressure);
  CHECK(figures.memory_pressure->some_10s == doctest::Approx(1.5));
  CHECK(figures.memory_pressure->some_60s == doctest::Approx(2.25));
  CHECK(figures.memory_pressure->some_300s == doctest::Approx(3));
  CHECK(figures.memory_pressure->full_10s == doctest::Approx(0.5));
  CHECK(figures.memory_pressure->some_total == microseconds(42));
  CHECK(figures.memory_pressure->full_total == microseconds(7));
  CHECK_FALSE(figures.cpu_pressure);
}

TEST_CASE("version 1: each controller has its own mount, inside a container that of its group") {
  const creel_test::TemporaryFolder root;
  write(root / "proc/cgroup",
        "4:memory:/box/17\n3:cpu,cpuacct:/box/17\n2:pids:/box/17\n1:name=systemd:/box/17\n0::/\n");
  write(root / "proc/mountinfo",
        "31 30 0:27 /box/17 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 30 0:29 /elsewhere /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  const fs::path top = root / "sys/fs/cgroup";
  write(top / "memory/memory.limit_in_bytes", "9223372036854771712\n");
  write(top / "memory/memory.usage_in_bytes", "4096\n");
  write(top / "memory/memory.max_usage_in_bytes", "8192\n");
  write(top / "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
  write(top / "cpu,cpuacct/box/17/cpu.cfs_quota_us", "50000\n");
  write(top / "cpu,cpuacct/box/17/cpu.cfs_period_us", "100000\n");
  write(top / "cpu,cpuacct/box/17/cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 3000\n");
  write(top / "cpu,cpuacct/box/17/cpuacct.usage", "5000000\n");
  write(top / "cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  write(top / "cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  write(top / "pids/pids.max", "100\n");
  write(top / "pids/pids.current", "3\n");
  CgroupFigures figures = CgroupFigures::read(root / "proc", root.path());
  CHECK(figures.version == 1);
  CHECK_FALSE(figures.memory_limit);
  CHECK(figures.memory_usage == 4096);
  CHECK(figures.memory_peak == 8192);
  CHECK(figures.oom_kills == 6);
  CHECK(figures.cpu_limit == doctest::Approx(0.5));
  CHECK(figures.cpu_usage == microseconds(5000));
  CHECK(figures.throttled_periods == 4);
  CHECK(figures.throttled_time == microseconds(3));
  CHECK(figures.process_limit == 100);
  CHECK(figures.process_count == 3);
  write(top / "memory/memory.limit_in_bytes", "65536\n");
  CHECK(CgroupFigures::read(root / "proc", root.path()).memory_limit == 65536);
}

TEST_CASE("without control groups nothing is told, and this machine's are read without an error") {
  const creel_test::TemporaryFolder root;
  const CgroupFigures none = CgroupFigures::read(root / "proc", root.path());
  CHECK(none.version == 0);
  CHECK_FALSE(none.memory_usage);
  const CgroupFigures here = CgroupFigures::current();
  if (here.memory_limit && here.memory_usage) CHECK(*here.memory_usage > 0);
}
