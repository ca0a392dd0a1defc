"""`python -m vm --junitxml FILE [PYTEST ARGUMENT...]`: runs the cases of suite.py, or those named, in the machine.

`python -m vm --junitxml FILE --run COMMAND [--with PATH]...` runs any command in it instead, by bash, in the directory
`integration`, with our programs first in PATH, and a copy of each PATH in /swiftlet/with. Its output goes to the
console, an exit code other than 0 fails the run, and a report in xunit that it writes to $VM_RESULTS is handed out as
FILE. `make vm RUN="swiftletd --help"` does that. Programs find the libraries of what disk.py puts into the machine.
"""

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
from vm.machine import MEBIBYTES, Machine  # noqa: E402

DEADLINE = 2700  # several times what it takes: of a busy machine
TAIL = 60  # lines of the console


def main() -> int:
    parser = argparse.ArgumentParser(prog="vm", description="container cases on Debian's kernel with cgroup v2 alone")
    parser.add_argument("--junitxml", type=pathlib.Path, required=True, help="where the results go")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds from power on to power off")
    parser.add_argument("--memory", type=int, default=MEBIBYTES, help="the machine's, in MiB")
    parser.add_argument("--run", metavar="COMMAND", help="what bash runs instead of the cases")
    parser.add_argument("--with", metavar="PATH", type=pathlib.Path, action="append", default=[], dest="files",
                        help="a file or directory that the command finds in /swiftlet/with")
    parser.add_argument("--package", metavar="NAME", action="append", default=[], dest="packages",
                        help="a further Debian package that the machine has, without what it depends on")
    options, arguments = parser.parse_known_args()
    for file in options.files:
        if not file.exists():
            parser.error(f"--with {file}: there is no such file")
    command = suite.command(arguments) if options.run is None else ["bash", "-c", options.run, "bash", *arguments]
    began = time.monotonic()
    BUILD.mkdir(parents=True, exist_ok=True)
    kernel = Kernel()
    system = disk.system(kernel, options.packages)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="run-") as scratch:
        own, results = pathlib.Path(scratch, "swiftlet.ext4"), pathlib.Path(scratch, "results.xml")
        disk.swiftlet(own, command, options.files)
        built = time.monotonic() - began
        print(f"vm: {kernel.package}, disks ready after {built:.1f} s", flush=True)
        machine = Machine(kernel.image, kernel.initramfs(), [system, own], results,
                          lambda line: print(line, flush=True), options.memory)
        try:
            ended = machine.wait(options.deadline)
        finally:
            machine.close()
        total = time.monotonic() - began
        report = outcome(machine, results if ended else None, options.run is None, total)
        options.junitxml.parent.mkdir(parents=True, exist_ok=True)
        report.write(options.junitxml, encoding="unicode")
    table(report)
    boot = f"{machine.booted:.1f} s" if machine.booted else "never"
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    print(f"vm: built in {built:.1f} s, booted after {boot}, {total:.1f} s in all, {spent:.1f} s of processor time")
    return 1 if failures(report) else 0


def failures(report: xml.ElementTree) -> int:
    return sum(1 for name in ("failure", "error") for _ in report.iter(name))


def outcome(machine: Machine, results: pathlib.Path | None, needed: bool, total: float) -> xml.ElementTree:
    """The machine's own results, which cases must give, and one case for its way from power on to power off."""
    report, trouble = xml.ElementTree(xml.Element("testsuites")), ""
    if results is None:
        trouble = "the machine did not go off by itself in time"
    elif results.stat().st_size or needed:
        try:
            report = xml.parse(results)
        except xml.ParseError as error:
            trouble = f"the machine gave no results: {error}"
    if not trouble and machine.code != 0 and not (machine.code == 1 and failures(report)):
        trouble = f"the machine's command ended with {machine.code}"
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
