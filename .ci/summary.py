#!/usr/bin/env python3
"""Sums up the results of every runner: `summary.py DIRECTORY` with steps and *.xml in it.

The last line is `N passed, N failed, N skipped`. A runner that broke without a failing test counts as one failure, and
the end of what it printed is shown.
"""

import pathlib
import sys
import xml.etree.ElementTree as xml

# Which files a step leaves behind.
RUNNERS = {"check": "check.xml", "swift-tests": "swift-*.xml", "integration": "integration.xml",
           "vm": "vm.xml"}
TAIL = 40  # lines
EXPECTED = ["install", "build", *RUNNERS]


def cases(path: pathlib.Path) -> tuple[int, list[str], list[str]]:
    """How many passed, and a line for each failure and each skip."""
    passed, failed, skipped = 0, [], []
    for case in xml.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')} {case.get('name')}"
        broken = case.find("failure") if case.find("failure") is not None else case.find("error")
        skip = case.find("skipped")
        if broken is not None:
            failed.append(f"{name}: {first_line(broken)}")
        elif skip is not None:
            skipped.append(f"{name}: {first_line(skip)}")
        else:
            passed += 1
    return passed, failed, skipped


def first_line(element) -> str:
    text = (element.get("message") or element.text or "").strip()
    return text.splitlines()[0] if text else "no reason given"


def tail(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"=== the end of {log.name}", *lines[-TAIL:]])


def main() -> int:
    directory = pathlib.Path(sys.argv[1])
    steps = directory / "steps"
    codes = {}
    for line in steps.read_text().splitlines() if steps.exists() else []:
        name, code, seconds = line.split()
        codes[name] = int(code)
        print(f"{name}: {'ok' if code == '0' else 'failed'}, {seconds} s")
    passed, failed, skipped = 0, [], []
    for name in EXPECTED:
        found = sorted(directory.glob(RUNNERS[name])) if name in RUNNERS else []
        before = len(failed)
        for path in found:
            some = cases(path)
            passed, failed, skipped = passed + some[0], failed + some[1], skipped + some[2]
        if name not in codes:
            failed.append(f"{name}: did not run")
        elif codes[name] and len(failed) == before:
            failed.append(f"{name}: ended with {codes[name]}")
            print(tail(directory / f"{name}.log"))
        elif name in RUNNERS and not found:
            failed.append(f"{name}: left no results")
    for title, lines in (("skipped", skipped), ("failed", failed)):
        for line in lines:
            print(f"{title}: {line}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
