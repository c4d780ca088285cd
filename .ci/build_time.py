#!/usr/bin/env python3
"""Prints what a build cost: CPU seconds in all, as creelw noted them, and the slowest sources from ninja's log.

    .ci/build_time.py BUILD_DIR

Exit code 1 over 1,200 seconds in all or 30 in one source, the point where waiting for the compiler decides how one works.
Compilations that ccache answered are in the log with the little they took. The log has wall time, which grows when others use
the machine: each source's share of it is a share of the CPU seconds.
"""
import pathlib
import sys

ALL_LIMIT, ONE_LIMIT = 1200.0, 30.0


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
    print(f"build: {len(objects)} sources, {total:.0f} CPU s in all (limit {ALL_LIMIT:.0f})")
    for output, took in slowest:
        print(f"  {took:6.1f} s  {output.replace('CMakeFiles/', '').removesuffix('.o')}")
    return 1 if total > ALL_LIMIT or (slowest and slowest[0][1] > ONE_LIMIT) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
