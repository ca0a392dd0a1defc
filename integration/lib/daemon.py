"""A private swiftletd: own directories, own bridge and addresses, own socket, in a node namespace of its own."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import grpc

from . import wait
from .cri import Client
from .netns import Node
from .stubs import REPOSITORY

NUMBERS = itertools.cycle(range(1, 250))  # of blocks, too, in namespaces of nodes: none has so many daemons


def binaries() -> pathlib.Path:
    """The folder of the four programs."""
    default = pathlib.Path(os.environ.get("SWIFTLET_SCRATCH") or REPOSITORY / ".build") / "release"
    return pathlib.Path(os.environ.get("SWIFTLET_BIN_DIR") or default)


def toml(sections: dict[str, dict]) -> str:
    """Strings, numbers, booleans and lists of them, which TOML writes as JSON does, and tables."""
    def text(value) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {text(inner)}" for key, inner in value.items()) + "}"
        return json.dumps(value)

    lines = []
    for name, keys in sections.items():
        lines += [f"[{name}]"] if name else []
        lines += [*(f"{key} = {text(value)}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


class Daemon:
    """swiftletd in a namespace. Paths are short: a Unix socket's address holds 108 bytes."""

    def __init__(self, node: Node, network: dict | None = None, base: pathlib.Path | None = None,
                 settings: dict | None = None):
        self.number = next(NUMBERS)
        self.node = node
        self.base = base or pathlib.Path(tempfile.mkdtemp(prefix="sw-", dir="/var/tmp"))
        self.root, self.state, self.logs = self.base / "r", self.base / "s", self.base / "logs"
        self.socket, self.config, self.output = self.base / "cri.sock", self.base / "config.toml", self.base / "out"
        self.network = {
            "bridge": f"swbr{self.number}", "pod_cidrs": [f"10.244.{self.number}.0/24", f"fd44:{self.number}::/64"],
            "cluster_cidrs": ["10.244.0.0/16", "fd44::/16"],
            # A pool is refilled while the census counts; test_pool.py has it.
            "pool": 0, **(network or {})}
        # Later ones win, as CDI has it.
        self.device_specs = [self.base / "cdi" / name for name in ("static", "dynamic")]
        self.settings = {"cdi_spec_dirs": [str(path) for path in self.device_specs], **(settings or {})}
        self.configure(self.network)
        self.logs.mkdir()
        self.process: subprocess.Popen | None = None
        self.client = Client(str(self.socket))
        self.client.log_root = str(self.logs)
        self.client.cgroup_parent = f"/{self.base.name}"

    def configure(self, network: dict) -> None:
        """What the next start reads."""
        self.network = network
        self.config.write_text(toml({"": self.settings, "network": network}))

    # life

    def command(self, *more: str) -> list[str]:
        return self.node.inside.command(
            str(binaries() / "swiftletd"), "--config", str(self.config), "--root", str(self.root),
            "--state", str(self.state), "--socket", str(self.socket), *more)

    def start(self, deadline: float = 60, **popen) -> Daemon:
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL, **popen)
        wait.until(self.answers, f"swiftletd's answer, see {self.output}", deadline)
        return self

    def answers(self) -> bool:
        code = self.process.poll()
        assert code is None, f"swiftletd ended with {code}:\n{self.tail()}"
        if not self.socket.exists():
            return False
        try:
            self.client.call("Version", timeout=5)
            return True
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error
            return False

    def run_to_end(self, *more: str, deadline: float = 60) -> tuple[int, str]:
        """Exit code and output of a start that must fail."""
        process = subprocess.Popen(
            self.command(*more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            output, _ = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"swiftletd should have refused to start:\n{output.decode()}") from None
        return process.returncode, output.decode()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.process.kill()
        self.process.wait(60)

    def terminate(self, deadline: float = 60) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline)

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])

    def prepare(self, archive: bytes) -> Daemon:
        """Loads an archive and lets one pod come and go: what is made only once is there before the first census."""
        self.client.load(archive)
        self.client.run_pod().remove()
        self.rests()
        return self

    def rests(self) -> None:
        """Returns when what goes by itself after a removal has gone: links, by the kernel, and trees of files."""
        links, trash = self.node.inside.links, self.root / "images" / "tmp"
        wait.until(lambda: not [name for name, link in links().items() if name.startswith("pod")
                                and link.get("ifalias") != "podnet:spare"], "end of the pods' links")
        wait.until(lambda: not os.listdir(trash), "end of removed trees")

    # what it made

    def shims(self) -> list[int]:
        """The pids of its shims."""
        found = []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            words = command_line(pid)
            if words and os.path.basename(words[0]) == "swiftlet-shim" and str(self.base) in " ".join(words):
                found.append(pid)
        return found

    def close(self) -> None:
        """Ends pods, daemon and what a broken one left, and removes its directory."""
        from .census import Census

        if self.alive:
            try:
                self.client.remove_all()
            except grpc.RpcError:
                pass
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
        self.client.close()
        Census(self).sweep()
        shutil.rmtree(self.base, ignore_errors=True)


def command_line(pid: int) -> list[str]:
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words if word]
