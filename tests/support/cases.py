"""Runs a unittest module so that tests/run.py counts it case by case, as it does doctest binaries.

    if __name__ == "__main__":
        cases.main()
"""
import os
import sys
import unittest


class ProgressResult(unittest.TextTestResult):
    """Writes "start|pass|fail|skip<TAB>name" lines to the file that CREEL_TEST_PROGRESS names."""

    def report(self, what, text):
        path = os.environ.get("CREEL_TEST_PROGRESS")
        if path:
            with open(path, "a", encoding="utf-8") as progress:
                progress.write(f"{what}\t{text}\n")

    def startTest(self, test):
        super().startTest(test)
        self.bad_before = len(self.failures) + len(self.errors) + len(self.unexpectedSuccesses)
        self.was_skipped = False
        self.report("start", test.id().removeprefix("__main__."))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.was_skipped = True
        self.report("skip", f"{test.id().removeprefix('__main__.')}: {reason}")

    def stopTest(self, test):
        bad = len(self.failures) + len(self.errors) + len(self.unexpectedSuccesses) > self.bad_before
        if not self.was_skipped:
            self.report("fail" if bad else "pass", test.id().removeprefix("__main__."))
        super().stopTest(test)


def main():
    runner = unittest.TextTestRunner(resultclass=ProgressResult, verbosity=2)
    outcome = unittest.main(testRunner=runner, exit=False).result
    sys.exit(0 if outcome.wasSuccessful() else 1)
