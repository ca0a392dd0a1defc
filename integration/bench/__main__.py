"""python -m bench [SOCKET...]: a markdown table on standard output, everything measured in .build/bench.json."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from bench import across, containers, network, steps  # noqa: E402
from bench.measure import ALONE, Runtime, p50  # noqa: E402
from lib import images, oci  # noqa: E402
from lib.census import controllers  # noqa: E402
from lib.daemon import Daemon  # noqa: E402
from lib.netns import Namespace, Node  # noqa: E402
from lib.registry import Registry  # noqa: E402
from lib.stubs import REPOSITORY  # noqa: E402


def machine() -> str:
    cpu = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in pathlib.Path("/proc/meminfo").read_text().splitlines()) >> 20
    return f"{os.cpu_count()} x {cpu}, {memory} GiB, kernel {platform.release()}"


def commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if git("status", "--porcelain", "-uno") else "")


def table(runtimes: list[Runtime]) -> list[str]:
    """p50 of each operation, and the values, a column per runtime."""
    lines = ["| | " + " | ".join(runtime.name for runtime in runtimes) + " |", "|---" * (len(runtimes) + 1) + "|"]

    def row(name: str, cells: list[str]) -> None:
        if any(cell != "-" for cell in cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")

    operations = ALONE + sorted({name for runtime in runtimes for name in runtime.figures.alone} - set(ALONE))
    for name in operations:
        found = [runtime.figures.alone.get(name) for runtime in runtimes]
        row(f"{name}, ms", [f"{p50(values):.2f}" if values else "-" for values in found])
    for name in ("pod up", "pod down"):
        found = [runtime.figures.crowd.get(name) for runtime in runtimes]
        row(f"{name} in the crowd, ms", [f"{p50(values):.1f}" if values else "-" for values in found])
    for name in dict.fromkeys(name for runtime in runtimes for name in runtime.figures.values):
        found = [runtime.figures.values.get(name) for runtime in runtimes]
        row(name, ["-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in found])
    return lines


def stages(log: pathlib.Path) -> list[str]:
    """Where the milliseconds go: the daemon's own log lines with stage timings, the median one of each call."""
    from bench.stages import medians

    return medians(log.read_text(errors="replace"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("sockets", nargs="*", help="CRI sockets of other runtimes")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", 40)), help="pods one after another")
    parser.add_argument("--pods", type=int, default=int(os.environ.get("PODS", 100)))
    parser.add_argument("--parallel", type=int, default=int(os.environ.get("PARALLEL", 8)))
    options = parser.parse_args()

    node = Node()
    daemon = Daemon(node, network={"pod_cidrs": ["10.244.0.0/20", "fd44::/64"], "pool": 8}).start()
    registry = None
    scratch = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="swiftlet-bench-")
    try:
        name = "docker.io/library/busybox:latest"
        daemon.client.load(oci.layout_archive({name: images.busybox()}))
        runtimes = [Runtime(str(daemon.socket), name, str(daemon.logs), f"/{daemon.base.name}")]
        if options.sockets:
            registry = Registry(Namespace.host(), pathlib.Path(scratch.name, "registry"), 5055)
            reference = registry.push("busybox", "latest", images.busybox())
            # for a peer whose own sandbox image is out of reach: sandbox_image = "127.0.0.1:5055/pause:latest"
            registry.push("pause", "latest", images.busybox().with_config(Entrypoint=["sleep", "1000000"], Cmd=[]))
        for path in options.sockets:
            runtime = Runtime(path.removeprefix("unix://"), reference, scratch.name)
            runtime.client.pull(reference)
            runtimes.append(runtime)
        for number in range(options.rounds + 3):
            for runtime in runtimes:  # in turn, so that all see the same machine
                runtime.one_alone()
                if number < 3:
                    runtime.figures.alone.clear()  # warming up
        alone = stages(daemon.output)
        for runtime in runtimes:
            runtime.many(options.pods, options.parallel)
        report(options, runtimes, alone)
        containers.main()
        network.main()
        print()
        across.main()
        print()
        steps.main()
    finally:
        if registry:
            registry.close()
        daemon.close()
        node.close()
        scratch.cleanup()
        for top in controllers():  # what peers were told to use; empty by now
            for directory, _, _ in os.walk(top / "swiftlet-bench", topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def report(options, runtimes: list[Runtime], stage_lines: list[str]) -> None:
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    print(f"{machine()}; {date}; commit {commit()}; load {os.getloadavg()[0]:.1f}")
    print(f"p50 of {options.rounds} pods one after another; the crowd is {options.pods} pods, {options.parallel} at a "
          "time\n")
    print("\n".join(table(runtimes)))
    if stage_lines:
        print("\nWhere the time of one pod goes, by the daemon's log (medians, ms):\n")
        print("\n".join(stage_lines))
    target = REPOSITORY / ".build"
    target.mkdir(exist_ok=True)
    (target / "bench.json").write_text(json.dumps({
        "machine": machine(), "date": date, "commit": commit(), "options": vars(options),
        "runtimes": {runtime.name: vars(runtime.figures) for runtime in runtimes}}, indent=1))


if __name__ == "__main__":
    main()
