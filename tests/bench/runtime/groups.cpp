#include "bench.hpp"

#include <unistd.h>

#include <cstdio>

namespace creel::bench {

void Report::line(std::string_view metric, std::string_view peer, double value, const char* unit) const {
  if (!wants(metric)) return;
  std::printf("%.*s %.*s %.3f %s\n", static_cast<int>(metric.size()), metric.data(),
              static_cast<int>(peer.size()), peer.data(), value, unit);
  std::fflush(stdout);
}

double resident_bytes() {
  long total = 0;
  long resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

const std::vector<Group>& groups() {
  using namespace std::string_view_literals;
  static const std::vector<Group> all{
      {.name = "fork-join",
       .metrics = {"fib32.seq"sv, "fib32.nocut.p1"sv, "fib32.cut16.p1"sv, "fib32.nocut.p2"sv,
                   "fib32.cut16.p2"sv},
       .run = fork_join},
      {.name = "submit",
       .metrics = {"submit.roundtrip"sv, "submit.batch1M"sv, "submit.idle_cpu"sv},
       .run = submit},
      {.name = "vt-create",
       .metrics = {"vt.create_join.seq"sv, "vt.create_join.batch1000"sv, "vt.create_join.all100k"sv,
                   "vt.create_join.all1M"sv},
       .run = create_and_join},
      {.name = "vt-switch-p1",
       .metrics = {"vt.pingpong"sv, "vt.yield"sv},
       .carriers = 1,
       .run = [](const Report& report) { switches(report, 1); }},
      {.name = "vt-switch-p2",
       .metrics = {"vt.pingpong"sv, "vt.yield"sv},
       .carriers = 2,
       .run = [](const Report& report) { switches(report, 2); }},
      {.name = "vt-parked", .metrics = {"vt.parked100k"sv, "vt.dump100k"sv}, .run = parked},
      {.name = "lock",
       .metrics = {"lock.contended.t1"sv, "lock.contended.t2"sv, "lock.contended.t8"sv},
       .run = locks},
      {.name = "map",
       .metrics = {"map.get.t1"sv, "map.get.t2"sv, "map.update10.t1"sv, "map.update10.t2"sv,
                   "map.update50.t1"sv, "map.update50.t2"sv, "map.churn10.t1"sv, "map.churn10.t2"sv,
                   "map.churn50.t1"sv, "map.churn50.t2"sv},
       .run = maps},
      {.name = "deadlock", .metrics = {"deadlock.1000"sv, "deadlock.foreign"sv}, .run = deadlocks},
      {.name = "dump-100",
       .metrics = {"dump.100.inprocess"sv, "dump.100.stopped"sv, "dump.100.attach"sv,
                   "dump.100.attach.size"sv},
       .target_threads = 100,
       .run = [](const Report& report) { dumps(report, 100); }},
      {.name = "dump-1000",
       .metrics = {"dump.1000.inprocess"sv, "dump.1000.stopped"sv, "dump.1000.attach"sv,
                   "dump.1000.attach.size"sv},
       .target_threads = 1000,
       .run = [](const Report& report) { dumps(report, 1000); }},
  };
  return all;
}

}  // namespace creel::bench
