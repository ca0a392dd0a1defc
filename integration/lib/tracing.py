"""Watching and slowing down a shim's system calls from outside, by strace: nothing in the product takes part."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence

from . import wait

LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")


@contextlib.contextmanager
def traced(shim: int, log: pathlib.Path, *calls: str, slow: dict[str, int] | None = None,
           options: Sequence[str] = ()) -> Iterator[None]:
    """The calls of a shim and of what it starts, written to `log`; those in `slow` wait so many microseconds first."""
    more = [f"--inject={call}:delay_enter={delay}" for call, delay in (slow or {}).items()]
    errors = log.with_suffix(".errors")
    with open(errors, "w") as output:
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", str(log), "-e", "trace=" + ",".join(calls), *more, *options, "-p", str(shim)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def attached() -> bool:
        assert tracer.poll() is None, errors.read_text()
        return "attached" in errors.read_text()

    try:
        wait.until(attached, "strace's hold of the shim")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # lets go of the shim
        tracer.wait(60)


def calls(log: pathlib.Path) -> list[tuple[int, str, str, int]]:
    """Process, call, arguments and result of each call that came to its end, unfinished ones put together."""
    found, begun = [], {}
    for line in log.read_text().splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        if " resumed>" in line and pid in begun:
            line = begun.pop(pid) + line.split(" resumed>", 1)[1]
        match = LINE.match(line)
        if match:
            found.append((int(match[1]), match[2], match[3], int(match[4])))
    return found
