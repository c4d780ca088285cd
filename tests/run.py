#!/usr/bin/env python3
"""Runs the tests that ctest lists in a build folder and counts test cases; the last line is `N passed, N failed`.

    tests/run.py --build build/release [LABEL…] [--fast] [--verbose] [-- doctest options]

Beyond ctest: a doctest binary counts case by case (tests/support/progress.cpp), so a crash names its case; a test that
outlives its time limit is ended with the stacks of its threads on the screen; nothing that a test started survives it;
and with CI or CREEL_NO_SKIP set a skipped case has failed, unless its reason begins with "CUDA": no package brings a GPU.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77  # a script's exit code that says so


class Test:
    """One entry of ctest's list."""

    def __init__(self, entry):
        properties = {p["name"]: p["value"] for p in entry.get("properties", [])}
        self.name = entry["name"]
        self.command = entry.get("command", [])
        self.labels = set(properties.get("LABELS", []))
        self.limit = float(properties.get("TIMEOUT", 300))
        self.environment = dict(pair.split("=", 1) for pair in properties.get("ENVIRONMENT", []))
        self.is_doctest = self.environment.get("CREEL_TEST_KIND") == "doctest"


class Outcome:
    """What became of one test: its cases by name, and why the whole failed, if it did."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []


def list_tests(build):
    listing = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, capture_output=True, text=True, check=True)
    return [Test(entry) for entry in json.loads(listing.stdout)["tests"]]


def processes_of(session):
    """All processes of a session, oldest first."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def print_stacks(session):
    for pid in processes_of(session):
        try:
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        print(f"--- threads of {pid}: {command}", flush=True)
        if shutil.which("eu-stack"):
            subprocess.run(["timeout", "60", "eu-stack", "-n", "40", "-p", str(pid)], stderr=subprocess.DEVNULL, check=False)
            continue
        for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
            print(f"    {task.name} {(task / 'comm').read_text().strip()}: waits in {(task / 'wchan').read_text()}")


def end_session(session):
    """Kills what is left of a test's session; returns how many processes there were."""
    left = processes_of(session)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return len(left)


def cases_of(progress, outcome, died):
    """Reads a doctest binary's progress; `died` says why the process did not end by itself, or is empty."""
    running = None
    for line in progress.read_text(errors="replace").splitlines() if progress.exists() else []:
        what, _, name = line.partition("\t")
        if what == "start":
            running = name
        else:
            {"pass": outcome.passed, "fail": outcome.failed, "skip": outcome.skipped}[what].append(name)
            running = None
    if died:
        outcome.failed.append(f"{running or '(no test case)'}: {died}; later cases did not run")


def ending(code, timed_out, limit):
    if timed_out:
        return f"did not end in {limit:.0f} s"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return ""


def run_test(test, options, logs):
    command = list(test.command)
    environment = {**os.environ, **test.environment, "PYTHONDONTWRITEBYTECODE": "1"}  # tests write nothing into the tree
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"creel-test-{test.name}-"))
    folder.chmod(0o755)  # tests that change to another user still reach it
    progress = folder / ".progress"
    environment.update(TMPDIR=str(folder), CREEL_TEST_PROGRESS=str(progress))
    if test.is_doctest:
        command += ["--no-intro=1", "--no-path-filenames=1"] + (["--test-suite-exclude=slow"] if options.fast else []) + options.extra
    log = logs / f"{test.name}.log"
    outcome, timed_out = Outcome(), False
    started = time.monotonic()
    with open(log, "wb") as output:
        stream = None if options.verbose else output
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=stream,
                                   stderr=subprocess.STDOUT if stream else None, start_new_session=True)
        try:
            code = process.wait(timeout=test.limit)
        except subprocess.TimeoutExpired:
            timed_out = True
            print(f"{test.name}: still running after {test.limit:.0f} s; its threads:", flush=True)
            print_stacks(process.pid)
            end_session(process.pid)
            code = process.wait()
    seconds = time.monotonic() - started
    left = end_session(process.pid)
    died = ending(code, timed_out, test.limit)
    if test.is_doctest or progress.exists():
        cases_of(progress, outcome, died)
        if not died and code != 0 and not outcome.failed:
            outcome.failed.append(f"(the binary) exit code {code}")
        if not (outcome.passed or outcome.failed or outcome.skipped) and not (options.fast or options.extra):
            outcome.failed.append("(the binary) ran no test case")
    elif code == 0 and not died:
        outcome.passed.append(test.name)
    elif code == SKIPPED:
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        outcome.skipped.append(last[0])
    else:
        outcome.failed.append(died or f"exit code {code}")
    if left and not timed_out:
        outcome.failed.append(f"left {left} process{'es' if left > 1 else ''} running")
    shutil.rmtree(folder, ignore_errors=True)
    show(test, outcome, seconds, log, options)
    return outcome


def show(test, outcome, seconds, log, options):
    if outcome.failed and not options.verbose:
        print(f"--- output of {test.name}")
        print(log.read_text(errors="replace"), end="")
        print("---")
    counts = f"{len(outcome.passed)} passed, {len(outcome.failed)} failed"
    if outcome.skipped:
        counts += f", {len(outcome.skipped)} skipped"
    print(f"{test.name:<20} {counts} in {seconds:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="After --: options for doctest, such as --test-case=NAME.")
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--fast", action="store_true", help="leave out the slow ones")
    parser.add_argument("--verbose", action="store_true", help="show the output of tests that pass, too")
    parser.add_argument("labels", nargs="*", metavar="LAYER")
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    options.extra = arguments[split + 1:]

    tests = [test for test in list_tests(options.build)
             if (not options.labels or test.labels & set(options.labels)) and not (options.fast and "slow" in test.labels)
             and (test.is_doctest or not options.extra)]
    logs = options.build / "tests"
    logs.mkdir(exist_ok=True)
    total = Outcome()
    for test in tests:
        outcome = run_test(test, options, logs)
        total.passed += [f"{test.name}: {case}" for case in outcome.passed]
        total.failed += [f"{test.name}: {case}" for case in outcome.failed]
        total.skipped += [f"{test.name}: {case}" for case in outcome.skipped]

    if total.skipped and (os.environ.get("CI") or os.environ.get("CREEL_NO_SKIP")):
        excepted = [case for case in total.skipped if ": CUDA" in case]
        total.failed += [f"{case} (skipped, which counts as failed here)" for case in total.skipped if case not in excepted]
        total.skipped = excepted
    for case in total.failed:
        print(f"FAILED  {case}")
    for case in total.skipped:
        print(f"skipped {case}")
    if not tests:
        print(f"No test has the label {' or '.join(options.labels)}.")
    print(f"{len(total.passed)} passed, {len(total.failed)} failed" + (f", {len(total.skipped)} skipped" if total.skipped else ""))
    return 1 if total.failed or not (total.passed or total.skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
