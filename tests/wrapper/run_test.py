#!/usr/bin/env python3
"""tests/run.py, on a build folder of small scripts that pass, fail, crash, hang, skip and leave processes behind."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests/support"))
import cases  # noqa: E402

# Plays a doctest binary: says what its cases do, then does it.
REPORT = 'printf "start\\tone\\npass\\tone\\nstart\\ttwo\\n" >>"$CREEL_TEST_PROGRESS"; '


class Runner(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="run-test-")
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)

    def run_tests(self, *arguments, ci=False, **tests):
        """Runs `tests`, name = (kind, shell command, time limit), and returns exit code and output lines."""
        listing = ""
        for name, (kind, command, limit) in tests.items():
            listing += f'add_test({name} bash -c [=[{command}]=])\nset_tests_properties({name} PROPERTIES TIMEOUT {limit} '
            listing += f'LABELS "{name};both" ENVIRONMENT CREEL_TEST_KIND={kind})\n'
        (self.build / "CTestTestfile.cmake").write_text(listing)
        environment = {name: value for name, value in os.environ.items() if name not in ("CI", "CREEL_NO_SKIP", "CREEL_TEST_PROGRESS")}
        done = subprocess.run([SOURCE / "tests/run.py", "--build", self.build, *arguments], capture_output=True, text=True,
                              env={**environment, **({"CI": "true"} if ci else {})}, timeout=120, check=False)
        self.output = done.stdout + done.stderr
        return done.returncode, done.stdout.splitlines()

    def test_counts_cases_and_scripts(self):
        code, lines = self.run_tests(good=("doctest", REPORT + 'printf "pass\\ttwo\\n" >>"$CREEL_TEST_PROGRESS"', 60),
                                     script=("script", "true", 60))
        self.assertEqual((code, lines[-1]), (0, "3 passed, 0 failed"), self.output)

    def test_shows_the_output_of_what_failed(self):
        code, lines = self.run_tests(bad=("script", "echo the reason; exit 4", 60), good=("script", "echo chatter", 60))
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed"), self.output)
        self.assertIn("the reason", lines)
        self.assertNotIn("chatter", lines)
        self.assertIn("FAILED  bad: exit code 4", lines)

    def test_a_crash_names_its_case(self):
        code, lines = self.run_tests(bad=("doctest", REPORT + "kill -SEGV $$", 60))
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed"), self.output)
        self.assertIn("FAILED  bad: two: killed by SIGSEGV; later cases did not run", lines)

    def test_a_hang_is_cut_off_with_its_stacks(self):
        code, lines = self.run_tests(bad=("doctest", REPORT + "sleep 1000 & wait", 1), good=("script", "true", 60))
        self.assertEqual((code, lines[-1]), (1, "2 passed, 1 failed"), self.output)
        self.assertIn("FAILED  bad: two: did not end in 1 s; later cases did not run", lines)
        self.assertTrue(any(line.startswith("--- threads of") and "sleep 1000" in line for line in lines), self.output)

    def test_a_process_left_behind_is_a_failure_and_is_ended(self):
        code, lines = self.run_tests(bad=("script", f"sleep 1000 & echo $! >{self.build}/pid; disown", 60))
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed"), self.output)
        self.assertIn("FAILED  bad: left 1 process running", lines)
        pid = (self.build / "pid").read_text().strip()
        state = pathlib.Path(f"/proc/{pid}/stat")
        self.assertTrue(not state.exists() or ") Z " in state.read_text())

    def test_skipped_is_failed_in_ci(self):
        skipping = {"some": ("script", "echo needs a moon; exit 77", 60), "good": ("script", "true", 60)}
        code, lines = self.run_tests(**skipping)
        self.assertEqual((code, lines[-1]), (0, "1 passed, 0 failed, 1 skipped"), self.output)
        self.assertIn("skipped some: needs a moon", lines)
        code, lines = self.run_tests(ci=True, **skipping)
        self.assertEqual((code, lines[-1]), (1, "1 passed, 1 failed"), self.output)

    def test_only_cuda_may_be_missing_in_ci(self):
        code, lines = self.run_tests(ci=True, some=("script", "echo CUDA: no device; exit 77", 60), good=("script", "true", 60))
        self.assertEqual((code, lines[-1]), (0, "1 passed, 0 failed, 1 skipped"), self.output)

    def test_a_failing_binary_without_a_failed_case_fails(self):
        code, lines = self.run_tests(bad=("doctest", REPORT + 'printf "pass\\ttwo\\n" >>"$CREEL_TEST_PROGRESS"; exit 3', 60))
        self.assertEqual((code, lines[-1]), (1, "2 passed, 1 failed"), self.output)

    def test_no_test_at_all_fails(self):
        code, lines = self.run_tests("telepathy", good=("script", "true", 60))
        self.assertEqual((code, lines[-1]), (1, "0 passed, 0 failed"), self.output)
        self.assertIn("No test has the label telepathy.", lines)
        code, lines = self.run_tests(empty=("doctest", "true", 60))
        self.assertEqual((code, lines[-1]), (1, "0 passed, 1 failed"), self.output)

    def test_labels_choose(self):
        code, lines = self.run_tests("one", one=("script", "true", 60), two=("script", "false", 60))
        self.assertEqual((code, lines[-1]), (0, "1 passed, 0 failed"), self.output)


if __name__ == "__main__":
    cases.main()
