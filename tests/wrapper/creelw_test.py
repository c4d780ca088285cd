#!/usr/bin/env python3
"""What ./creelw promises, tried on a checkout of two files with play-acting cmake, ninja, apt-get and pip: no network, no
compiler, and every failure can be had."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/support"))
import cases  # noqa: E402

NOBODY = 65534

CMAKE = """#!/bin/bash
[[ $1 == --version ]] && { echo "cmake version 3.25.1"; exit; }
echo "$@" >>"$STAGE/cmake.calls"
[[ ! -e $STAGE/cmake.fails ]] || { echo "CMake Error: no luck"; exit 1; }
mkdir -p build/release
: >build/release/build.ninja
"""
NINJA = """#!/bin/bash
echo "$@" >>"$STAGE/ninja.calls"
[[ ! -e $STAGE/ninja.fails ]] || { echo "error: no luck"; exit 1; }
mkdir -p bin
cp "$STAGE/creel" bin/creel
echo "ninja: no work to do."
"""
DPKG_QUERY = """#!/bin/bash
shift 3
for package; do [[ -e $STAGE/missing.$package ]] || echo "installed $package"; done
"""
APT_GET = """#!/bin/bash
echo "$@" >>"$STAGE/apt.calls"
[[ $1 == update ]] && exit
[[ ! -e $STAGE/apt.fails ]] || { echo "E: Unable to locate package mold"; exit 100; }
rm -f "$STAGE"/missing.*
"""
# sudo -n: without a password, or not at all.
SUDO = """#!/bin/bash
[[ -e $STAGE/sudo.works ]] || exit 1
shift
exec "$@"
"""
# Stands for pip alone: any other use of python3 goes to the real one.
PYTHON = """#!/bin/bash
[[ $1 == -m && $2 == pip ]] || exec /usr/bin/python3 "$@"
[[ $3 == download ]] || exit 0
while [[ $1 != --dest ]]; do shift; done
echo "$(head -n 1 "$4")" >>"$STAGE/pip.calls"
[[ ! -e $STAGE/pip.fails ]] || { echo "ERROR: Could not find a version that satisfies the requirement"; exit 1; }
[[ ! -p $STAGE/pip.waits ]] || read -r _ <"$STAGE/pip.waits"
mkdir -p "$2"
cp "$STAGE/any.whl" "$2/$$.whl"
"""
CREEL = """#!/bin/bash
echo "pid $$ in $PWD:$(printf ' [%s]' "$@")"
exit ${EXIT_CODE:-0}
"""


class Stage(unittest.TestCase):
    """A checkout, a PATH of play-acting tools, a cache; all under one temporary folder."""

    def setUp(self):
        self.stage = pathlib.Path(tempfile.mkdtemp(prefix="creelw-"))
        self.addCleanup(shutil.rmtree, self.stage, ignore_errors=True)
        self.root = self.stage / "check out"  # a space, as users have them
        self.root.mkdir()
        for name in ("creelw", "creelw.lock"):
            shutil.copy(SOURCE / name, self.root)
        (self.root / "CMakePresets.json").write_text("{}")
        tools = self.stage / "bin"
        tools.mkdir()
        for name, text in {"cmake": CMAKE, "ninja": NINJA, "dpkg-query": DPKG_QUERY, "apt-get": APT_GET, "python3": PYTHON,
                           "../creel": CREEL, "sudo": SUDO}.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        with zipfile.ZipFile(self.stage / "any.whl", "w") as wheel:
            for line in (self.root / "creelw.lock").read_text().splitlines():
                for pattern in line.split()[5:] if line.startswith("wheel ") else []:
                    wheel.writestr(pattern.replace("*", "ATen/core/Tensor.h"), "")
            wheel.writestr("torch/lib/libtorch_cuda.so", "half a gigabyte")
        self.environment = {"PATH": f"{tools}:/usr/bin:/bin:/usr/sbin:/sbin", "STAGE": str(self.stage),
                            "HOME": str(self.stage), "CREEL_CACHE": str(self.stage / "cache"), "LC_ALL": "C.UTF-8"}

    def start(self, *arguments, cwd=None, program=None, unprivileged=False, **environment):
        if unprivileged and os.geteuid() == 0:
            for folder, _, files in os.walk(self.stage):
                for path in [folder, *(os.path.join(folder, file) for file in files)]:
                    os.chown(path, NOBODY, NOBODY)
        as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if unprivileged and os.geteuid() == 0 else {}
        return subprocess.Popen([program or self.root / "creelw", *arguments], cwd=cwd or self.stage, text=True,
                                env={**self.environment, **environment}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **as_user)

    def creelw(self, *arguments, **options):
        process = self.start(*arguments, **options)
        process.out, process.err = process.communicate(timeout=60)
        return process

    def calls(self, tool):
        path = self.stage / f"{tool}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def torch(self):
        return sorted((self.stage / "cache").glob("libtorch-*/torch"))


class BecomesTheProgram(Stage):
    def test_same_pid_folder_arguments_and_exit_code(self):
        done = self.creelw("ps", "a b", "--json", EXIT_CODE="42")
        self.assertEqual(done.out, f"pid {done.pid} in {self.stage}: [ps] [a b] [--json]\n")
        self.assertEqual(done.returncode, 42)

    def test_through_a_symlink_from_another_folder(self):
        link = self.stage / "elsewhere"
        link.symlink_to(self.root / "creelw")
        done = self.creelw("ps", program=link, cwd="/")
        self.assertEqual(done.out, f"pid {done.pid} in /: [ps]\n", done.err)

    def test_second_call_is_silent_and_configures_nothing(self):
        self.creelw("ps")
        done = self.creelw("ps")
        self.assertEqual(done.err, "")
        self.assertEqual(len(self.calls("cmake")), 1)

    def test_other_cmake_options_configure_again(self):
        self.creelw("ps")
        self.creelw("ps", CREEL_CMAKE_ARGS="-DCREEL_WERROR=ON")
        self.assertEqual(len(self.calls("cmake")), 2)
        self.assertIn("-DCREEL_WERROR=ON", self.calls("cmake")[1])

    def test_builds_only_what_the_verb_needs(self):
        self.creelw("dump", "1")
        self.assertTrue(self.calls("ninja")[0].endswith(" creel"), self.calls("ninja"))
        self.assertEqual(self.torch(), [], "a dump needs no LibTorch")
        self.creelw("run", "x.yaml")
        self.assertTrue(self.calls("ninja")[1].endswith(" creel creel-worker"), self.calls("ninja"))
        self.assertEqual(len(self.torch()), 1)

    def test_bench_builds_and_becomes_the_named_one(self):
        (self.root / "tests/bench/locks").mkdir(parents=True)
        done = self.creelw("bench", "locks", "2")
        self.assertTrue(self.calls("ninja")[0].endswith(" creel creel-bench-locks"), self.calls("ninja"))
        self.assertEqual(self.torch(), [], "a benchmark of creel's needs no LibTorch")
        self.assertEqual(done.out, f"pid {done.pid} in {self.stage}: [bench] [locks] [2]\n", done.err)
        for unknown in ([], ["lokcs"]):
            done = self.creelw("bench", *unknown)
            self.assertEqual(done.returncode, 2)
            self.assertIn("needs a name: locks", done.err)

    def test_a_verb_without_libtorch_keeps_the_one_configured(self):
        self.creelw("run", "x.yaml")
        self.creelw("dump", "1")
        self.assertEqual(len(self.calls("cmake")), 1)


class SaysWhatIsWrong(Stage):
    def test_unknown_verb_preset_and_layer(self):
        for arguments in (["frobnicate"], ["build", "telepathy"]):
            done = self.creelw(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(arguments[-1], done.err)

    def test_failed_build_and_failed_cmake(self):
        for tool in ("ninja", "cmake"):
            (self.stage / f"{tool}.fails").touch()
            done = self.creelw("ps")
            self.assertEqual(done.returncode, 1)
            self.assertIn("no luck", done.err)
            self.assertEqual(done.out, "")

    def test_failed_download_names_the_file_and_leaves_nothing(self):
        (self.stage / "pip.fails").touch()
        done = self.creelw("run", "x.yaml")
        self.assertEqual(done.returncode, 3)
        self.assertIn("could not get torch 2.11.0", done.err)
        self.assertIn("CREEL_LIBTORCH", done.err)
        self.assertEqual(list((self.stage / "cache").glob(".unpacking*")), [])

    def test_wrong_libtorch(self):
        done = self.creelw("run", "x.yaml", CREEL_LIBTORCH="/usr")
        self.assertEqual(done.returncode, 3)
        self.assertIn("CREEL_LIBTORCH=/usr holds no LibTorch", done.err)


class Packages(Stage):
    def test_none_missing_asks_apt_nothing(self):
        self.creelw("ps")
        self.assertEqual(self.calls("apt"), [])

    def test_root_or_sudo_installs_only_what_is_missing(self):
        (self.stage / "missing.mold").touch()
        (self.stage / "sudo.works").touch()
        done = self.creelw("ps")
        self.assertEqual(done.returncode, 0, done.err)
        self.assertTrue(self.calls("apt")[-1].endswith("--no-install-recommends mold"), self.calls("apt"))
        (self.stage / "missing.mold").touch()
        os.utime(self.root / "creelw.lock")  # newer than what was found out
        done = self.creelw("ps", unprivileged=True)
        self.assertEqual(done.returncode, 0, done.err)
        self.assertEqual(len(self.calls("apt")), 4, "an update and an install each time")

    def test_failed_install_names_the_package(self):
        (self.stage / "missing.mold").touch()
        (self.stage / "sudo.works").touch()
        (self.stage / "apt.fails").touch()
        done = self.creelw("ps")
        self.assertEqual(done.returncode, 3)
        self.assertIn("could not install: mold", done.err)
        self.assertIn("Unable to locate package mold", done.err)

    def test_unprivileged_user_gets_the_line_to_run(self):
        (self.stage / "missing.mold").touch()
        done = self.creelw("ps", unprivileged=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("sudo apt-get install -y --no-install-recommends mold", done.err)
        self.assertEqual(self.calls("apt"), [])


class LibTorch(Stage):
    def test_unpacks_what_a_cpu_build_needs(self):
        done = self.creelw("run", "x.yaml")
        home = self.torch()[0].parent
        files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
        self.assertLessEqual({"torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/include/ATen/core/Tensor.h",
                              "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13"}, files, done.err)
        self.assertNotIn("torch/lib/libtorch_cuda.so", files)
        self.assertEqual(len(self.calls("pip")), 3)

    def test_pins_every_file_by_hash(self):
        self.creelw("run", "x.yaml")
        for call in self.calls("pip"):
            self.assertRegex(call, r"^[a-z-]+==[0-9.]+ --hash=sha256:[0-9a-f]{64}$")

    def test_names_an_existing_one_or_an_environment_that_has_it(self):
        torch = self.stage / "venv/lib/python3.11/site-packages/torch"
        for file in ("lib/libtorch_cpu.so", "include/ATen/core/Tensor.h"):
            (torch / file).parent.mkdir(parents=True, exist_ok=True)
            (torch / file).touch()
        for named in (torch, torch.parent, self.stage / "venv"):
            done = self.creelw("run", "x.yaml", CREEL_LIBTORCH=str(named))
            self.assertEqual(done.returncode, 0, done.err)
        self.assertIn(f"-DCREEL_LIBTORCH={torch}", self.calls("cmake")[0])
        self.assertEqual(len(self.calls("cmake")), 1, "three names of one LibTorch")
        self.assertEqual(self.calls("pip"), [])

    def hold_pip(self):
        """Makes pip wait; returns the write end that lets it go on by being closed."""
        os.mkfifo(self.stage / "pip.waits")

    def until(self, condition, what):
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def release_pip(self, process):
        """Lets every waiting pip go on, until `process` has ended."""
        while process.poll() is None:
            try:
                os.close(os.open(self.stage / "pip.waits", os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass  # nobody waits at the moment
            time.sleep(0.01)

    def test_two_at_once_download_once(self):
        self.hold_pip()
        first = self.start("run", "x.yaml")
        self.until(lambda: self.calls("pip"), "the first one downloads")
        second = self.start("run", "x.yaml")
        self.assertIn("waiting for another creelw", second.stderr.readline())
        self.release_pip(first)
        self.assertEqual([first.wait(), second.wait()], [0, 0])
        self.assertEqual(len(self.calls("pip")), 3)
        for process in (first, second):
            process.communicate()

    def test_killed_midway_leaves_nothing_that_counts(self):
        self.hold_pip()
        first = self.start("run", "x.yaml")
        self.until(lambda: self.calls("pip"), "it downloads")
        self.kill_tree(first.pid)
        first.communicate()
        self.assertEqual(self.torch(), [])
        os.unlink(self.stage / "pip.waits")
        done = self.creelw("run", "x.yaml")
        self.assertEqual(done.returncode, 0, done.err)
        self.assertEqual(len(self.torch()), 1)
        self.assertEqual(list((self.stage / "cache").glob(".unpacking*")), [])

    def kill_tree(self, pid):
        """kill -9 without a chance to tidy up, as an out-of-memory killer does it."""
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
        os.kill(pid, signal.SIGKILL)
        for child in children.stdout.split():
            self.kill_tree(int(child))


if __name__ == "__main__":
    cases.main()
