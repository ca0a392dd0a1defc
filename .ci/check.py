#!/usr/bin/env python3
"""The checks of `make check`, one function each: it returns the lines that break its rule."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import xml.sax.saxutils as escape

from rooms import EMBEDDED, FOUNDATION, PATH_CALL_FILES, PATH_CALL_ROOMS, ROOMS

TOP_LEVEL = {"Package.swift", "Sources", "Tests", "proto", "integration", "README.md", "Makefile", "CONTRIBUTING.md"}
IMPORT = re.compile(
    r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+"
    r"(?:(?:struct|class|enum|func|protocol|typealias|var|let)\s+)?(\w+)")
BLOCK = re.compile(r"^\s*(?:@\w+\s+|\w+\s+)*?(?:func\s+[^\s(<]+|init\b|deinit\b|subscript\b)")

# System calls that take a path. Only the files that resolve paths for everybody may name them.
PATH_CALLS = re.compile(
    r"(?<![.\w])(?:open|creat|mkdir|mknod|chown|lchown|chmod|rename|unlink|rmdir|symlink|link|stat|lstat|readlink"
    r"|opendir|fopen|truncate|access|chdir|chroot|setxattr|lsetxattr|utimes|mount|umount|umount2)\s*\("
    r"|\bFileManager\b")
FORBIDDEN = [
    (re.compile(r"\btry!|\bas!"), "force"),
    (re.compile(r"(?<!case )(?<![.\w])(?:system|popen)\s*\("), "runs a shell"),
    (re.compile(r"\bProcess\s*\(\s*\)"), "runs a program by Foundation"),
    (re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b"), "unfinished"),
    (re.compile(r"(?<![\w`])public\s+(?!import\b)"), "public (package is the widest access here)"),
]


def swift_files(top: str = "Sources", generated: bool = False) -> list[pathlib.Path]:
    found = sorted(pathlib.Path(top).rglob("*.swift"))
    return [path for path in found if generated or "Generated" not in path.parts]


def code(line: str) -> str:
    """A line without its comment and its string literals."""
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', line).split("//")[0]


def imports() -> list[str]:
    broken = []
    for path in swift_files(generated=True):
        room = path.parts[1]
        allowed = ROOMS.get(room)
        if allowed is None:
            broken.append(f"{path}: room {room} is not in .ci/rooms.py")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = IMPORT.match(line)
            name = match and match.group(1)
            generated = "Generated" in path.parts
            if name in ROOMS and name != room and name not in allowed:
                broken.append(f"{path}:{number}: {room} must not import {name}")
            elif name and room in EMBEDDED and name not in ROOMS and name != "Synchronization":
                broken.append(f"{path}:{number}: {room} is Embedded and must not import {name}")
            elif name == "Foundation" and room not in FOUNDATION and not generated:
                broken.append(f"{path}:{number}: {room} must not import Foundation (FoundationEssentials)")
    return broken


def package() -> list[str]:
    """Package.swift gives no target more than .ci/rooms.py does."""
    dumped = subprocess.run(["swift", "package", "--scratch-path", scratch(), "dump-package"],
                            capture_output=True, text=True)
    if dumped.returncode:
        return [dumped.stderr.strip()]
    broken = []
    for target in json.loads(dumped.stdout)["targets"]:
        if target["type"] == "test":
            continue
        names = {entry["byName"][0] for entry in target["dependencies"] if "byName" in entry}
        names |= {entry["target"][0] for entry in target["dependencies"] if "target" in entry}
        if target["name"] not in ROOMS:
            broken.append(f"Package.swift: {target['name']} is not in .ci/rooms.py")
            continue
        for name in sorted(names & ROOMS.keys() - ROOMS[target["name"]]):
            broken.append(f"Package.swift: {target['name']} must not depend on {name}")
    return broken


def scratch() -> str:
    return os.environ.get("SWIFTLET_SCRATCH") or ".build"


def formatted() -> list[str]:
    files = [str(path) for top in ("Sources", "Tests") for path in swift_files(top)] + ["Package.swift"]
    done = subprocess.run(["swift", "format", "lint", "--strict", "--parallel", *files], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def generated() -> list[str]:
    done = subprocess.run([".ci/generate-protocols.sh", "--check"], capture_output=True, text=True)
    return (done.stdout + done.stderr).splitlines() or ["not current"] if done.returncode else []


def tree() -> list[str]:
    """What is committed, and where."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    broken = []
    for path in listed:
        top = path.split("/")[0]
        if top not in TOP_LEVEL and not top.startswith("."):
            broken.append(f"{path}: the top level holds only {', '.join(sorted(TOP_LEVEL))}")
        if top in (".build", ".venv") or path.startswith("integration/generated/") or path == "Package.resolved":
            broken.append(f"{path}: must not be committed")
    return broken


def forbidden() -> list[str]:
    broken = []
    for path in swift_files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = code(line)
            for pattern, why in FORBIDDEN:
                if pattern.search(line if why == "unfinished" else text):
                    if why.startswith("public") and path.parts[1] in EMBEDDED:
                        continue  # a C entry point has to be
                    broken.append(f"{path}:{number}: {why}: {line.strip()}")
    return broken


def path_calls() -> list[str]:
    """No path string into a container root: RootHandle and openat2 only."""
    broken = []
    for path in swift_files():
        inner = str(path.relative_to("Sources"))
        if path.parts[1] not in PATH_CALL_ROOMS or any(inner.startswith(allowed) for allowed in PATH_CALL_FILES):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if PATH_CALLS.search(code(line)) and not re.search(r"\b(?:func|case)\b|\bstat\(\)", line):
                broken.append(f"{path}:{number}: system call with a path: {line.strip()}")
    return broken


def python() -> list[str]:
    broken = []
    for path in [*pathlib.Path("integration").rglob("*.py"), *pathlib.Path(".ci").glob("*.py")]:
        if "generated" in path.parts:
            continue
        try:
            compile(path.read_text(), str(path), "exec")
        except SyntaxError as error:
            broken.append(f"{path}:{error.lineno}: {error.msg}")
        broken += [f"{path}:{number}: longer than 120 columns"
                   for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120]
    return broken


def readme() -> list[str]:
    lines = pathlib.Path("README.md").read_text().splitlines() if pathlib.Path("README.md").exists() else None
    if lines is None:
        return ["README.md is missing"]
    return [f"README.md has {len(lines)} lines, 250 are enough"] if len(lines) > 250 else []


# The messages that say what a pod and a container are; README's table tells of each of their fields what becomes of it.
CONFIG_MESSAGES = [
    "PodSandboxConfig", "DNSConfig", "PortMapping", "LinuxPodSandboxConfig", "LinuxSandboxSecurityContext",
    "NamespaceOption", "UserNamespace", "IDMapping", "SecurityProfile", "SELinuxOption", "ContainerConfig", "ImageSpec",
    "Mount", "Device", "CDIDevice", "LinuxContainerConfig", "LinuxContainerSecurityContext", "Capability",
    "LinuxContainerResources", "HugepageLimit",
]


def fields() -> list[str]:
    """README's table of fields names each field of the CRI's configuration once, and nothing else."""
    text = "\n".join(path.read_text() for path in sorted(pathlib.Path("proto/cri").glob("*.proto")))
    rows = {}
    for line in pathlib.Path("README.md").read_text().splitlines():
        names = re.findall(r"`(\w+)`", line)
        if line.startswith("| `") and names and names[0] in CONFIG_MESSAGES:
            rows[names[0]] = names[1:]
    broken = []
    for message in CONFIG_MESSAGES:
        body = re.search(rf"^message {message} {{\n(.*?)^}}", text, re.M | re.S)
        wanted = re.findall(r"^  (?:repeated |optional )?(?:map<[^>]*>|[\w.]+) (\w+) = \d+", body.group(1), re.M)
        told = rows.get(message, [])
        broken += [f"README.md: {message}.{name} is not in the table of fields" for name in wanted if name not in told]
        broken += [f"README.md: {message} has no field {name}" for name in told if name not in wanted]
        broken += [f"README.md: {message}.{name} is told twice" for name in set(told) if told.count(name) > 1]
    return broken


def functions(path: pathlib.Path) -> list[tuple[int, str]]:
    """Length and place of each function of a file, found by its braces."""
    found, open_blocks, depth = [], [], 0
    pending: tuple[int, str] | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = code(line)
        if BLOCK.match(text):
            pending = (number, text.strip())
        for character in text:
            if character == "{":
                if pending:
                    open_blocks.append((depth, *pending))
                    pending = None
                depth += 1
            elif character == "}":
                pending = None  # a requirement of a protocol, without a body
                depth -= 1
                if open_blocks and open_blocks[-1][0] == depth:
                    _, began, head = open_blocks.pop()
                    found.append((number - began + 1, f"{path}:{began} {head[:60]}"))
    return found


def measured() -> list[tuple[str, int, list[tuple[int, str]]]]:
    """Files and functions, longest first, each kind with its budget in lines."""
    files = [path for top in ("Sources", "Tests") for path in swift_files(top)]
    sized = sorted(((len(path.read_text().splitlines()), str(path)) for path in files), reverse=True)
    blocks = sorted((block for path in files for block in functions(path)), reverse=True)
    return [("files", 400, sized), ("functions", 60, blocks)]


def sizes() -> list[str]:
    return [f"{place}: {length} lines, {budget} allowed"
            for _, budget, items in measured() for length, place in items if length > budget]


def longest() -> None:
    for title, _, items in measured():
        print(f"longest {title} ({len(items)} in all):")
        for length, place in items[:10]:
            print(f"  {length:5} {place}")


CHECKS = [imports, package, formatted, generated, tree, forbidden, path_calls, sizes, python, readme, fields]


def main() -> int:
    results, failed = [], 0
    for check in CHECKS:
        try:
            broken = check()
        except OSError as error:
            broken = [str(error)]
        name = check.__name__
        print(f"check {name}: {'ok' if not broken else f'{len(broken)} problems'}")
        for line in broken[:50]:
            print("  " + line)
        text = escape.quoteattr(broken[0]) if broken else ""
        results.append(f'<testcase classname="check" name="{name}">'
                       + (f"<failure message={text}/>" if broken else "") + "</testcase>")
        failed += bool(broken)
    longest()
    directory = pathlib.Path(os.environ.get("SWIFTLET_RESULTS") or ".build/results")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "check.xml").write_text(f'<testsuite name="check">{"".join(results)}</testsuite>\n')
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
