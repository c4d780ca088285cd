"""The benchmark's lines and options: bench_runtime_test.py PROGRAM. It measures the cheapest metric only."""
import re
import subprocess
import sys

PROGRAM = sys.argv[1]


def bench(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=50)


def expect(condition, what, done):
    if not condition:
        sys.exit(f"{what}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")


done = bench("--only", "^fib32.seq$", "--repeat", "1")
lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
expect(done.returncode == 0 and len(lines) == 1, "one metric is one line", done)
expect(re.fullmatch(r"fib32\.seq creel \d+\.\d{3} ms", lines[0]), "a line is `metric peer value unit`", done)
expect(float(lines[0].split()[2]) > 0, "something was measured", done)

done = bench("--only", "deadlock.foreign|submit.idle_cpu", "--repeat", "1")
rows = [line.split() for line in done.stdout.splitlines() if line.startswith("# ")]
expect(rows[0][:3] == ["#", "metric", "creel"], "the table has a head", done)
expect([row[1] for row in rows[1:]] == ["submit.idle_cpu", "deadlock.foreign"], "a row for each goal measured", done)
expect(all(row[-1] in ("yes", "no") for row in rows[1:]), "a goal is met or not", done)

done = bench("--list")
expect("fork-join: fib32.seq fib32.nocut.p1" in done.stdout, "the metrics are listed", done)
for wrong in (["--repeat", "0"], ["--repeat"], ["--only", "("], ["--frobnicate"], ["--group", "none"]):
    done = bench(*wrong)
    expect(done.returncode == 2 and "--help" in done.stderr, f"{wrong} is a mistake of usage", done)
