"""What is measured, by plain CRI calls that any runtime understands.

The client is Python: every call carries some tenths of a millisecond of it, which the Version row shows.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
import socket
import statistics
import struct
import threading
import time

import grpc

from lib.cri import SLEEPER, Client
from lib.stubs import pb

ALONE = ["Version", "RunPodSandbox", "CreateContainer", "StartContainer", "pod up", "ExecSync", "PodSandboxStatus",
         "ContainerStatus", "ListContainers", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox",
         "pod down"]


# Programs that run for a pod's sake beside the workload, of us and of the peers.
HELPER = re.compile(rb"shim|pause|conmon")


@dataclasses.dataclass
class Figures:
    """Of one runtime: milliseconds of each operation, and what else was found."""

    alone: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    crowd: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    values: dict[str, float] = dataclasses.field(default_factory=dict)


class Runtime:
    """A socket under measurement."""

    def __init__(self, path: str, image: str, log_root: str, cgroup_parent: str = "/swiftlet-bench"):
        self.path, self.image, self.log_root, self.cgroup_parent = path, image, log_root, cgroup_parent
        self.local = threading.local()
        version = self.client.call("Version")
        self.name = f"{version.runtime_name} {version.runtime_version}"
        self.pid = peer(path)
        self.figures = Figures()

    @property
    def client(self) -> Client:
        """One channel per thread, so that the client's connection is not what is measured."""
        if not hasattr(self.local, "client"):
            self.local.client = Client(self.path, timeout=120)
            self.local.client.log_root = self.log_root
            self.local.client.cgroup_parent = self.cgroup_parent
        return self.local.client

    # one pod's life

    def up(self, record: dict[str, list[float]]):
        with timed(record, "pod up"):
            with timed(record, "RunPodSandbox"):
                pod = self.client.run_pod()
            with timed(record, "CreateContainer"):
                container = pod.create(SLEEPER, image=self.image)
            with timed(record, "StartContainer"):
                container.start()
        return pod, container

    def down(self, pod, container, record: dict[str, list[float]]) -> None:
        with timed(record, "pod down"):
            with timed(record, "StopContainer"):
                container.stop(timeout=10)
            with timed(record, "RemoveContainer"):
                container.remove()
            with timed(record, "StopPodSandbox"):
                pod.stop()
            with timed(record, "RemovePodSandbox"):
                pod.remove()

    def one_alone(self) -> None:
        """A pod's life with nothing else going on."""
        record = self.figures.alone
        with timed(record, "Version"):
            self.client.call("Version")
        pod, container = self.up(record)
        for _ in range(3):
            with timed(record, "ExecSync"):
                answer = container.execute("true")
            assert answer.exit_code == 0, answer
        for method, fields in (("PodSandboxStatus", {"pod_sandbox_id": pod.id}),
                               ("ContainerStatus", {"container_id": container.id}), ("ListContainers", {})):
            with timed(record, method):
                self.client.call(method, **fields)
        self.down(pod, container, record)

    # many pods

    def many(self, count: int, width: int) -> None:
        """`count` pods, `width` at a time, up and down again; memory and lists while they are up."""
        values, record = self.figures.values, self.figures.crowd
        values["daemon RSS idle, MiB"] = rss(self.pid) / 1024
        before = set(pids())
        with concurrent.futures.ThreadPoolExecutor(width) as pool:
            began = time.monotonic()
            pods = list(pool.map(lambda _: self.up(record), range(count)))
            values["pods per second up"] = count / (time.monotonic() - began)
            values[f"daemon RSS with {count} pods, MiB"] = rss(self.pid) / 1024
            values["memory per pod, MiB PSS"] = helpers(set(pids()) - before, self.pid) / 1024 / count
            began = time.monotonic()
            list(pool.map(lambda pair: pair[1].execute("true"), pods))
            values["commands per second"] = count / (time.monotonic() - began)
            for method in ("ListPodSandbox", "ListContainers", "ListContainerStats"):
                self.listed(method, count)
            began = time.monotonic()
            list(pool.map(lambda pair: self.down(*pair, record), pods))
            values["pods per second down"] = count / (time.monotonic() - began)

    def listed(self, method: str, count: int) -> None:
        for _ in range(10):
            try:
                with timed(self.figures.alone, f"{method}, {count} pods"):
                    self.client.call(method)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
                return


@contextlib.contextmanager
def timed(record: dict[str, list[float]], name: str):
    began = time.perf_counter()
    yield
    record[name].append((time.perf_counter() - began) * 1000)


def p50(values: list[float]) -> float:
    return statistics.median(values)


# processes


def peer(path: str) -> int:
    """The pid of the process that listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[0]


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def field(pid: int, file: str, name: str) -> int:
    """A line of /proc/PID/status or smaps_rollup in KiB; 0 when the process is gone."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def rss(pid: int) -> int:
    return field(pid, "status", "VmRSS")


def helpers(new: set[int], daemon: int) -> int:
    """PSS in KiB of what runs for the pods' sake beside the workload: shims, monitors, pause processes."""
    total = 0
    for pid in new - {daemon, os.getpid()}:
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if HELPER.search(os.path.basename(words[0])):
            total += field(pid, "smaps_rollup", "Pss")
    return total
