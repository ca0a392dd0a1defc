"""What cases want of a pod from the node: its namespace, its addresses, a server in it, facts of its processes."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import signal
import sqlite3
from collections.abc import Iterator

from . import wait
from .cri import Container, Pod
from .netns import Namespace

# busybox httpd: a page, and a script that tells who asked. Debian's static wget crashes on -T: `timeout` bounds it.
SERVER = ("mkdir -p /www/cgi-bin; echo %s > /www/index.html; "
          "printf '#!/bin/sh\\necho Content-Type: text/plain; echo; echo $REMOTE_ADDR\\n' > /www/cgi-bin/who; "
          "chmod +x /www/cgi-bin/who; exec httpd -f -p %s -h /www")


def serve(pod: Pod, address: str, name: str = "server", text: str = "page") -> Container:
    """A container that answers every request at `[HOST:]PORT` with `text`, like http-echo."""
    container = pod.run(["sh", "-c", SERVER % (text, address)], name=name)
    port = f"{int(address.rpartition(':')[2]):04X}"
    wait.until(lambda: port in container.shell("cat /proc/net/tcp /proc/net/tcp6"), "listening server")
    return container


def fetch(container: Container, address: str, port: int, path: str = "/") -> str:
    """The page at an address as a container sees it; empty when nobody answers in time."""
    host = f"[{address}]" if ":" in address else address
    answer = container.execute("timeout", "50", "wget", "-q", "-O", "-", f"http://{host}:{port}{path}")
    return answer.stdout.decode()


@contextlib.contextmanager
def inside(pod: Pod) -> Iterator[Namespace]:
    """The pod's network namespace, held meanwhile."""
    space = Namespace.of(pod.info()["pid"])
    try:
        yield space
    finally:
        space.close()


def in_pod(daemon, pod: Pod, *command: str) -> str:
    """A command of the host in a pod's network namespace."""
    with inside(pod) as space:
        return space.run(*command)


def in_pod_json(daemon, pod: Pod, *command: str) -> list:
    return json.loads(in_pod(daemon, pod, *command) or "[]")


def addresses(pod: Pod) -> tuple[str, str]:
    """IPv4 and IPv6 of a pod by its status."""
    network = pod.status().network
    return network.ip, network.additional_ips[0].ip


def leased(daemon) -> list[str]:
    """The addresses that a daemon's records hold."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.root / 'state.db'}?mode=ro", uri=True)) as records:
        return [row[0] for row in records.execute("SELECT address FROM leases ORDER BY address")]


def catches(container: Container, *signals: signal.Signals) -> None:
    """Returns once the first process handles each (proc_pid_status(5): SigCgt): that it runs does not say so, nor does
    a word of its own command line in `ps`."""
    path = pathlib.Path(f"/proc/{container.info()['pid']}/status")
    wanted = sum(1 << number - 1 for number in signals)

    def handled() -> bool:
        return int(re.search(r"^SigCgt:\s*(\w+)", path.read_text(), re.M)[1], 16) & wanted == wanted

    wait.until(handled, f"handlers of {', '.join(number.name for number in signals)}")


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state first."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2:].split()


def started(pid: int) -> int:
    """When a process was started, in clock ticks since boot."""
    return int(stat(pid)[19])


def cpu_ticks(pid: int) -> int:
    """Processor time of a process's whole life, in clock ticks."""
    fields = stat(pid)
    return int(fields[11]) + int(fields[12])
