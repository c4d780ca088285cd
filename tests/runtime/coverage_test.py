#!/usr/bin/env python3
"""Checks docs/runtime/coverage.md: every Java method has its row, and what a row names exists.

A row is `Java | creel | test`. Its counterpart is a link [`Class::member`][header]: the member must be declared in the
body of that class (or namespace) in that header. Its test must be a TEST_CASE whose body names the member (the class,
for a constructor). A row without a counterpart gives a reason and names no test. The Java methods that need a row are
listed in java_methods.txt.
"""

import os
import re
import sys
from pathlib import Path

COUNTERPART = re.compile(r"\[`([\w:]+)`\]\[(\w+)\]")
LINK = re.compile(r"^\[(\w+)\]: (\S+)$", re.M)
TEST_CASE = re.compile(r'TEST_CASE\w*\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')
SCOPE = r"(?:class|struct|namespace)\s+(?:\[\[\w+\]\]\s*)?(?:[\w]+::)*{}\b[^;{{}}()]*(?:\([^)]*\)[^;{{}}()]*)?\{{"


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def braces(text, opening):
    """The text between the brace at `opening` and the one that closes it."""
    depth = 0
    for i in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[opening + 1:i]
    return text[opening + 1:]


def declares(header, name):
    """Whether the text of a header declares Class::member, namespace::function, or a function of creel itself."""
    *scopes, member = name.split("::")
    bodies = [header]
    for scope in scopes:
        inner = [braces(body, match.end() - 1) for body in bodies
                 for match in re.finditer(SCOPE.format(re.escape(scope)), body)]
        # class Outer::Inner { … } stands outside of Outer's own body
        bodies = inner + [braces(header, match.end() - 1)
                          for match in re.finditer(SCOPE.format(re.escape(scope)), header)]
    member = re.escape(member)
    declared = re.compile(rf"(?<![\w.>]){member}\s*(?:[(;={{,]|<[^>]*>\s*\()|(?:class|struct)\s+{member}\b")
    return any(declared.search(body) for body in bodies)


def test_cases(root):
    """Name and body of each TEST_CASE, in the order of the files."""
    cases = {}
    for path in sorted((root / "tests").rglob("*.cpp")):
        text = path.read_text()
        found = list(TEST_CASE.finditer(text))
        for i, match in enumerate(found):
            name = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', match.group(1))).replace('\\"', '"')
            end = found[i + 1].start() if i + 1 < len(found) else len(text)
            cases.setdefault(name, []).append((path, text[match.start():end]))
    return cases


def java_methods(path):
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def rows(table):
    """Type, Java method, counterpart, test of each row."""
    java_type = ""
    for line in table.splitlines():
        if line.startswith("## "):
            java_type = line[3:].split(" ")[0]
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            cells[-1] = cells[-1].rstrip("| ").strip()
            yield java_type, cells


def check_row(method, counterpart, test, headers, cases):
    """What is wrong with a row, or nothing."""
    names = COUNTERPART.findall(counterpart)
    if not names:
        if test:
            yield f"{method} has a test but no counterpart"
        if len(counterpart) < 5:
            yield f"{method} has neither a counterpart nor a reason"
        return
    for name, header in names:
        if header not in headers:
            yield f"{method}: [{header}] has no link to a header"
        elif not declares(headers[header], name):
            yield f"{method}: {name} is not declared in {header}"
    if test not in cases:
        yield f"{method}: there is no test \"{test}\""
        return
    used = [name.split("::")[-1] for name, _ in names]
    if not any(re.search(rf"\b{re.escape(each)}\b", body) for each in used for _, body in cases[test]):
        yield f"{method}: the test \"{test}\" does not name {' or '.join(used)}"


def check(table, methods, headers, cases):
    seen, wrong = set(), []
    for java_type, cells in rows(table):
        if len(cells) != 3:
            wrong.append(f"not three cells: {cells}")
            continue
        method = java_type + "." + cells[0].strip("`")
        if method in seen:
            wrong.append(f"{method} has two rows")
        seen.add(method)
        wrong += check_row(method, cells[1], cells[2], headers, cases)
    wrong += [f"{method} has no row" for method in methods if method not in seen]
    wrong += [f"{method} is not in java_methods.txt" for method in seen.difference(methods)]
    return wrong


def main():
    root = Path(os.environ.get("CREEL_SOURCE_DIR") or Path(__file__).resolve().parents[2])
    document = root / "docs/runtime/coverage.md"
    table = document.read_text()
    headers = {}
    for name, target in LINK.findall(table):
        path = (document.parent / target).resolve()
        if path.suffix == ".hpp" and path.exists():
            headers[name] = without_comments(path.read_text())
    methods = java_methods(root / "tests/runtime/java_methods.txt")
    cases = test_cases(root)
    if len(methods) < 900 or len(cases) < 300:
        sys.exit(f"read {len(methods)} methods and {len(cases)} tests: not what this project has")
    wrong = check(table, methods, headers, cases)
    if wrong:
        sys.exit("\n".join(wrong) + f"\n{len(wrong)} errors in {document}")
    print(f"{len(methods)} methods of Java have their rows")


if __name__ == "__main__":
    main()
