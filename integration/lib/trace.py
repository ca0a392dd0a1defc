"""strace of a running process and of all that it starts.

H4 for the shim: it has no stretch points of its own, which a release could reach. The kernel's side of the debugger
stops or delays any system call of its children instead: `Trace(pid, "openat2", delay=("openat2", 50_000))`.
"""

from __future__ import annotations

import pathlib
import re
import signal
import subprocess
import tempfile
import threading

LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\w+|\?)(.*)$")


class Trace:
    """From the moment it is made until `stop`. `processes` has the calls of each process by its pid, in order."""

    def __init__(self, pid: int, calls: str = "all", delay: tuple[str, int] | None = None):
        self.directory = tempfile.TemporaryDirectory(prefix="trace-", dir="/var/tmp")
        command = ["strace", "-ff", "-y", "-s", "256", "-o", f"{self.directory.name}/t", "-e", f"trace={calls}",
                   "-e", "signal=none"]
        if delay:
            command += ["-e", f"inject={delay[0]}:delay_enter={delay[1]}"]
        self.strace = subprocess.Popen(
            [*command, "-p", str(pid)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        said = self.strace.stderr.readline()
        assert "attached" in said, f"strace: {said}"
        # What it says later must not fill the pipe.
        self.reader = threading.Thread(target=self.strace.stderr.read, daemon=True)
        self.reader.start()

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> dict[int, list[tuple[str, str, str]]]:
        """Ends it, once. (call, arguments, result with its errno) of each process."""
        if self.strace.returncode is None:
            self.strace.send_signal(signal.SIGINT)
            self.strace.wait(20)
            self.reader.join(5)
            self.strace.stderr.close()
            self.processes = {int(path.suffix[1:]): parse(path.read_text(errors="replace"))
                              for path in pathlib.Path(self.directory.name).iterdir()}
            self.directory.cleanup()
        return self.processes


def children(trace: Trace, parent: int) -> dict[int, list[tuple[str, str, str]]]:
    """What each child of a process did until its program ran; `clone3` must be among the calls that are traced."""
    born = [int(result) for name, _, result in trace.processes[parent] if name == "clone3" and result.isdigit()]
    return {pid: until_exec(trace.processes.get(pid, [])) for pid in born}


def parse(text: str) -> list[tuple[str, str, str]]:
    found = []
    for line in text.splitlines():
        match = LINE.match(line)
        if match:
            found.append((match.group(1), match.group(2), match.group(3) + match.group(4)))
    return found


def until_exec(calls: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """What a child did before its program ran; empty when it never did."""
    for index, (name, _, result) in enumerate(calls):
        if name in ("execve", "execveat") and result.startswith("0"):
            return calls[:index + 1]
    return []
