"""`python -m vm --junitxml FILE [PYTEST ARGUMENT...]`: runs the cases of suite.py, or those named, in the machine."""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import resource
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from vm import disk, suite  # noqa: E402
from vm.kernel import BUILD, Kernel  # noqa: E402
from vm.machine import Machine  # noqa: E402

DEADLINE = 600
TAIL = 60  # lines of the console


def main() -> int:
    parser = argparse.ArgumentParser(prog="vm", description="container cases on Debian's kernel with cgroup v2 alone")
    parser.add_argument("--junitxml", type=pathlib.Path, required=True, help="where the results go")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds from power on to power off")
    options, arguments = parser.parse_known_args()
    began = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    kernel = Kernel()
    system = disk.system(kernel)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="run-") as scratch:
        own, results = pathlib.Path(scratch, "swiftlet.ext4"), pathlib.Path(scratch, "results.xml")
        disk.swiftlet(own, arguments or suite.arguments())
        built = time.monotonic() - began
        print(f"vm: {kernel.package}, disks ready after {built:.1f} s", flush=True)
        machine = Machine(kernel.image, kernel.initramfs(), [system, own], results,
                          lambda line: print(line, flush=True))
        try:
            ended = machine.wait(options.deadline)
        finally:
            machine.close()
        total = time.monotonic() - began
        report = outcome(machine, results if ended else None, total)
        options.junitxml.parent.mkdir(parents=True, exist_ok=True)
        report.write(options.junitxml, encoding="unicode")
    table(report)
    boot = f"{machine.booted:.1f} s" if machine.booted else "never"
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(f"vm: built in {built:.1f} s, booted after {boot}, {total:.1f} s in all, {spent:.1f} s of processor time")
    return 1 if any(True for name in ("failure", "error") for _ in report.iter(name)) else 0


def outcome(machine: Machine, results: pathlib.Path | None, total: float) -> xml.ElementTree:
    """The machine's own results and one case for its way from power on to power off."""
    report, trouble = xml.ElementTree(xml.Element("testsuites")), ""
    if results is None:
        trouble = "the machine did not go off by itself in time"
    elif machine.code not in (0, 1):  # 1: cases failed, and the report has them
        trouble = f"pytest ended with {machine.code}"
    else:
        try:
            report = xml.parse(results)
        except xml.ParseError as error:
            trouble = f"the machine gave no results: {error}"
    suite = xml.SubElement(report.getroot(), "testsuite", name="vm")
    case = xml.SubElement(suite, "testcase", classname="vm", name="from_power_on_to_power_off", time=f"{total:.3f}")
    if trouble:
        xml.SubElement(case, "failure", message=trouble).text = "\n".join(machine.lines[-TAIL:])
        print("\n".join([f"vm: {trouble}; the end of its console:", *machine.lines[-TAIL:]]))
    return report


def table(report: xml.ElementTree) -> None:
    """Time and number of cases, file by file."""
    seconds, count = collections.Counter(), collections.Counter()
    for case in report.iter("testcase"):
        seconds[case.get("classname")] += float(case.get("time", 0))
        count[case.get("classname")] += 1
    for name, spent in seconds.most_common():
        print(f"vm: {spent:7.1f} s {count[name]:4} cases {name}")


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
