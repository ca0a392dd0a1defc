"""What the children of a shim do before their programs run, as strace sees it (lib/tracing.py)."""

from __future__ import annotations

import collections
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from . import tracing

Call = tuple[str, str, int]  # name, arguments, result


def shim_of(pod) -> int:
    """The shim's pid: pause's parent."""
    return int(pathlib.Path(f"/proc/{pod.info()['pid']}/stat").read_text().rpartition(")")[2].split()[1])


@contextlib.contextmanager
def processes(pod, *calls: str) -> Iterator[dict[int, list[Call]]]:
    """The calls of the pod's shim and of all that it starts, by pid, in order; complete after the block. Arguments show
    what a descriptor stands for."""
    found: dict[int, list[Call]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="trace-", dir="/var/tmp") as directory:
        log = pathlib.Path(directory, "log")
        with tracing.traced(shim_of(pod), log, *calls, options=["-y", "-s", "256", "-e", "signal=none"]):
            yield found
        for pid, name, arguments, result in tracing.calls(log):
            found[pid].append((name, arguments, result))


def children(found: dict[int, list[Call]], shim: int) -> dict[int, list[Call]]:
    """What each child of the shim did up to its program; `clone3` must be among the calls that are traced."""
    born = [result for name, _, result in found[shim] if name == "clone3" and result > 0]
    return {pid: until_exec(found[pid]) for pid in born}


def until_exec(calls: list[Call]) -> list[Call]:
    """Up to the program's start; empty when it never came."""
    for index, (name, _, result) in enumerate(calls):
        if name in ("execve", "execveat") and result == 0:
            return calls[:index + 1]
    return []
