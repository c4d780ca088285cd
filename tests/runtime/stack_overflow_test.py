"""A stack overflow is told by the thread's name and frames, and still ends the process by SIGSEGV."""

import re
import signal
import subprocess
import sys
import unittest

PROGRAM = ""


def run(what):
    return subprocess.run([PROGRAM, what], stderr=subprocess.PIPE, text=True, timeout=60)


class StackOverflow(unittest.TestCase):
    def check(self, what, name, size):
        done = run(what)
        self.assertEqual(done.returncode, -signal.SIGSEGV, done.stderr)
        lines = done.stderr.splitlines()
        self.assertRegex(lines[0], rf'^creel: stack overflow in {name} #\d+ \(tid \d+\), whose stack has {size} KiB; .* sets it$')
        frames = [line for line in lines[1:] if line.startswith("\tat ")]
        self.assertGreaterEqual(len(frames), 40, done.stderr)
        self.assertIn("descend", frames[0])
        self.assertRegex(lines[-1], r"^\t\.\.\. and at least \d+ more$")

    def test_platform_thread(self):
        self.check("platform", 'thread "digger"', "25[0-9]")

    def test_virtual_thread(self):
        self.check("virtual", 'virtual thread "diver"', "64")

    def test_main_thread(self):
        self.check("main", 'thread "main"', r"\d+")

    def test_another_fault_is_passed_on(self):
        done = run("wild")
        self.assertEqual(done.returncode, -signal.SIGSEGV)
        self.assertEqual(done.stderr, "")

    def test_the_handler_that_was_there_gets_what_is_no_overflow(self):
        self.assertEqual(run("handled").returncode, 42)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
