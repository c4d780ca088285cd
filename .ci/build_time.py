#!/usr/bin/env python3
"""Prints what a build cost: CPU seconds in all, as creelw noted them, and the slowest sources from ninja's log.

    .ci/build_time.py BUILD_DIR

Exit code 1 over 1,200 seconds in all or 30 in one source, the point where waiting for the compiler decides how one works.
These are seconds of a machine that compiles REFERENCE in one; on a slower one the limits are as much higher. Compilations that
ccache answered are in the log with the little they took. The log has wall time, which grows when others use the machine: each
source's share of it is a share of the CPU seconds.
"""
import os
import pathlib
import resource
import subprocess
import sys

ALL_LIMIT, ONE_LIMIT = 1200.0, 30.0
REFERENCE = "".join(f"#include <{name}>\n" for name in (
    "algorithm array atomic chrono condition_variable deque functional map memory mutex optional string thread unordered_map "
    "utility variant vector").split())


def slowness():
    """CPU seconds that the compiler needs for REFERENCE with one on each processor, as in a build (two that share a core slow each
    other down); the best of three, and not under 1: no machine gets lower limits."""
    jobs = len(os.sched_getaffinity(0))
    command = ["c++", "-std=c++20", "-O2", "-x", "c++", "-c", "-", "-o", "/dev/null"]

    def once():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        compilers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(jobs)]
        for compiler in compilers:
            compiler.stdin.write(REFERENCE.encode())
            compiler.stdin.close()
        if any([compiler.wait() != 0 for compiler in compilers]):
            sys.exit("build time: the reference does not compile")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / jobs

    return max(1.0, min(once() for _ in range(3)))


def cpu_seconds(build):
    """User and system seconds of all builds in this folder; creelw adds a line for each."""
    path = pathlib.Path(build) / ".cpu-seconds"
    return sum(float(word) for word in path.read_text().split()) if path.exists() else None


def main(build):
    seconds = {}
    for line in (pathlib.Path(build) / ".ninja_log").read_text().splitlines()[1:]:
        start, end, _, output, _ = line.split("\t")
        seconds[output] = (int(end) - int(start)) / 1000  # the last entry of an output is its last build
    # Objects of sources that are no more still have their entries.
    objects = {output: took for output, took in seconds.items() if output.endswith(".o") and (pathlib.Path(build) / output).exists()}
    wall = sum(objects.values())
    total = min(wall, cpu_seconds(build) or wall)
    objects = {output: took * total / wall for output, took in objects.items()} if wall else objects
    slowest = sorted(objects.items(), key=lambda item: -item[1])[:8]
    factor = slowness()
    print(f"build: {len(objects)} sources, {total:.0f} CPU s in all (limit {ALL_LIMIT * factor:.0f}, {factor:.2f} × {ALL_LIMIT:.0f})")
    for output, took in slowest:
        print(f"  {took:6.1f} s  {output.replace('CMakeFiles/', '').removesuffix('.o')}")
    return 1 if total > ALL_LIMIT * factor or (slowest and slowest[0][1] > ONE_LIMIT * factor) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
