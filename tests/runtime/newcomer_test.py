#!/usr/bin/env python3
"""The C++ that a newcomer reads first is that of from_java_test.cpp, and <creel/runtime.hpp> has every header."""

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = (ROOT / "docs/runtime/from_java.md", ROOT / "runtime/README.md")
TEST = ROOT / "tests/runtime/from_java_test.cpp"
HEADERS = ROOT / "runtime/include/creel"
# Parts of others, and a bridge that is asked for by its own name.
NOT_IN_UMBRELLA = {"runtime/atomic_file.hpp", "runtime/fiber_bridge.hpp"}


def blocks(page):
    return re.findall(r"^```cpp\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def is_cut_from(block, source):
    """Whether the block's lines stand in the source one after the other, further to the right by the same amount."""
    return any(textwrap.indent(block, " " * depth) in source for depth in (0, 2, 4))


def missing_snippets(page, source):
    return [block for block in blocks(page) if not is_cut_from(block, source)]


def reached_from(header, seen):
    for name in re.findall(r"^#include <creel/(runtime/[\w/]+\.hpp)>$", (HEADERS / header).read_text(), re.MULTILINE):
        if name not in seen:
            seen.add(name)
            reached_from(name, seen)
    return seen


def missing_headers():
    names = {f"runtime/{path.name}" for path in (HEADERS / "runtime").glob("*.hpp")} - NOT_IN_UMBRELLA
    return sorted(names - reached_from("runtime.hpp", set()))


def main():
    source = TEST.read_text()
    assert is_cut_from("a();\nb();\n", "{\n  a();\n  b();\n}\n") and not is_cut_from("a();\nb();\n", "a();\n  b();\n")
    problems = [f"creel/runtime.hpp lacks {name}" for name in missing_headers()]
    count = 0
    for path in PAGES:
        page = path.read_text()
        problems += [f"{path.name}: not in {TEST.name}:\n{block}" for block in missing_snippets(page, source)]
        if not blocks(page):
            problems.append(f"{path.name} has no C++: is it marked ```cpp?")
        count += len(blocks(page))
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{count} pieces of C++ are those of the test")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
