"""A pod of one real shim: directories, cgroups, a network namespace, and busybox as plain directories."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import uuid

from lib import debian, wait
from ttrpc import Client, Closed, ShimError, pb

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
ROOT = pathlib.Path("/var/tmp/swiftlet-shim-test")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids", "freezer", "unified")
BUSYBOX = debian.program("busybox-static", "/bin/busybox")
DEFAULT_CAPABILITIES = 0xA80425FB
CLONE_NEWNET = 0x40000000
ENVIRONMENT = [b"PATH=/bin", b"HOME=/"]


def programs() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("SWIFTLET_BIN_DIR", ""))
    assert (folder / "swiftlet-shim").is_file(), f"SWIFTLET_BIN_DIR={folder} has no swiftlet-shim"
    return folder


def network_namespace() -> int:
    """A descriptor of a new, empty network namespace; this process stays where it is."""
    made: list[int] = []

    def make() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert made, "unshare of the network failed"
    return made[0]


def ignore_signal(number: int) -> None:
    """By the system call, since glibc refuses signals 32 and 33."""
    SYS_rt_sigaction = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
    action = struct.pack("=4Q", 1, 0, 0, 0)  # SIG_IGN, no flags, empty mask
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(SYS_rt_sigaction, number, action, None, 8) == 0, os.strerror(ctypes.get_errno())


def image() -> pathlib.Path:
    """A read-only layer with busybox under all its names."""
    layer = ROOT / "layer"
    if not layer.exists():
        scratch = ROOT / f"layer-{uuid.uuid4().hex}"
        for name in ("", "bin", "tmp", "etc", "proc", "sys", "dev"):
            (scratch / name).mkdir(parents=True)
            (scratch / name).chmod(0o755)  # whatever the umask: an ordinary user runs programs in it
        (scratch / "tmp").chmod(0o1777)
        shutil.copy(BUSYBOX, scratch / "bin/busybox")
        names = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
        for name in names:
            if name != "busybox":
                os.symlink("busybox", scratch / "bin" / name)
        try:
            scratch.rename(layer)
        except OSError:
            shutil.rmtree(scratch)
    return layer


class Group:
    """One cgroup in several of the v1 hierarchies and the hybrid's v2 tree, or the one of pure v2."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pure = (CGROUPS / "cgroup.controllers").exists()
        roots = [CGROUPS] if self.pure else [CGROUPS / name for name in CONTROLLERS if (CGROUPS / name).exists()]
        self.directories = [root / path.lstrip("/") for root in roots]
        for directory in self.directories:
            directory.mkdir(parents=True, exist_ok=True)
        if self.pure:  # of the two groups without processes; what is below a container's group has no limits
            for directory in (CGROUPS, CGROUPS / path.split("/")[1]):
                (directory / "cgroup.subtree_control").write_text("+memory")

    def message(self):
        if self.pure:
            return pb.Cgroup(unified=str(self.directories[0]), memory_events=str(self.directories[0] / "memory.events"))
        # The v2 tree of a hybrid by CLONE_INTO_CGROUP: a write to its cgroup.procs waits for an RCU grace period.
        unified = [str(directory) for directory in self.directories if directory.is_relative_to(CGROUPS / "unified")]
        return pb.Cgroup(
            directories=[str(directory) for directory in self.directories if str(directory) not in unified],
            unified="".join(unified),
            memory_events=str(self.directories[0] / "memory.oom_control"))

    def processes(self) -> list[int]:
        found: set[int] = set()
        for directory in self.directories:
            for folder, _, _ in os.walk(directory):
                found |= {int(pid) for pid in pathlib.Path(folder, "cgroup.procs").read_text().split()}
        return sorted(found)

    def limit_memory(self, count: int) -> None:
        name = "memory.max" if self.pure else "memory.limit_in_bytes"
        (self.directories[0] / name).write_text(str(count))

    def remove(self) -> None:
        for directory in self.directories:
            for folder, _, _ in os.walk(directory, topdown=False):
                wait.until(lambda: self.remove_now(folder), f"end of {folder}", 60)

    @staticmethod
    def remove_now(folder: str) -> bool:
        try:
            os.rmdir(folder)
        except OSError:  # what has been killed may take a while to end
            return False
        return True


class Pod:
    """A shim and its first connection. `start()` makes the sandbox; `close()` ends and removes everything."""

    def __init__(self, terminal: int | None = None) -> None:
        """With a terminal that is to control the shim's session."""
        self.terminal = terminal
        self.id = uuid.uuid4().hex * 2
        self.directory = ROOT / self.id[:12]
        self.directory.mkdir(parents=True)
        self.groups: list[Group] = []
        self.group = self.new_group("")
        self.descriptors: list[int] = []
        self.socket_path = self.directory / "shim.sock"
        self.client, self.process = self._spawn()
        self.response = None

    def new_group(self, name: str) -> Group:
        group = Group(f"/swiftlet-shim-test-{self.id[:12]}/{name}")
        self.groups.append(group)
        return group

    def _spawn(self) -> tuple[Client, subprocess.Popen]:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.socket_path))
        os.chmod(self.socket_path, 0o600)
        listener.listen(64)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        first, second = theirs.fileno(), listener.fileno()

        def descriptors() -> None:
            # By way of high numbers, so that neither is overwritten before it is copied.
            high = os.dup2(first, 200), os.dup2(second, 201)
            os.dup2(high[0], 3, inheritable=True)
            os.dup2(high[1], 4, inheritable=True)
            # Who starts a daemon may ignore any signal; 32 is one that glibc's own sigaction does not show.
            for number in (signal.SIGUSR1, 32, signal.SIGRTMAX):
                ignore_signal(number)
            if self.terminal is not None:
                fcntl.ioctl(self.terminal, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            [programs() / "swiftlet-shim", "--id", self.id, "--dir", str(self.directory)], stdin=subprocess.DEVNULL,
            preexec_fn=descriptors, close_fds=False, start_new_session=True)
        theirs.close()
        listener.close()
        return Client(ours), process

    def connect(self) -> Client:
        return Client.connect(self.socket_path)

    def start(self, *, network: int = POD, pid: int = CONTAINER, ipc: int = POD, **fields) -> "Pod":
        shm = self.directory / "shm"
        shm.mkdir(exist_ok=True)
        request = pb.StartSandboxRequest(
            sandbox_id=self.id, namespaces=pb.Namespaces(network=network, pid=pid, ipc=ipc), hostname="pod",
            cgroup=self.new_group("pause").message(), pause_path=str(programs() / "swiftlet-pause"),
            shm_directory=str(shm) if ipc == POD else "", shm_size=64 << 20)
        request.MergeFrom(pb.StartSandboxRequest(**fields))
        descriptors = []
        if network != NODE:
            descriptors = [network_namespace()]
        try:
            self.response = self.client.call("StartSandbox", request, descriptors=descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.pid_mode = pid
        self.network = network
        self.ipc = ipc
        return self

    def container_request(self, name: str, argv: list[str], **fields):
        folder = self.directory / "containers" / uuid.uuid4().hex
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        group = self.new_group(name)
        proc = pb.Mount(destination="/proc", type="proc", nosuid=True, nodev=True, noexec=True)
        dev = pb.Mount(destination="/dev", type="tmpfs", nosuid=True, data=["mode=755", "size=65536k"])
        request = pb.StartRequest(
            container_id=name,
            process=self.process_message(argv),
            namespaces=pb.Namespaces(network=self.network, pid=self.pid_mode, ipc=self.ipc),
            cgroup=group.message(),
            rootfs=pb.Rootfs(
                lower=[str(image())], upper=str(folder / "upper"), work=str(folder / "work"),
                mountpoint=str(folder / "root")),
            mounts=[proc, dev],
            devices=[
                pb.Device(path="/dev/null", type="c", major=1, minor=3, mode=0o666),
                pb.Device(path="/dev/zero", type="c", major=1, minor=5, mode=0o666)],
            log_path=str(self.log_path(name)))
        request.MergeFrom(pb.StartRequest(**fields))
        return request

    def log_path(self, name: str) -> pathlib.Path:
        return self.directory / "logs" / name / "0.log"

    def process_message(self, argv: list[str]):
        masks = dict.fromkeys(("bounding", "effective", "permitted"), DEFAULT_CAPABILITIES)
        return pb.Process(
            argv=[part.encode() for part in argv], env=ENVIRONMENT, cwd="/", user=pb.User(groups=[0]),
            capabilities=pb.Capabilities(**masks), no_new_privs=True)

    def run(self, name: str, script: str, deadline: float = 60, **fields):
        """Starts a container with a shell script."""
        request = self.container_request(name, ["sh", "-c", script], **fields)
        return self.client.call("Start", request, deadline)

    def exec_request(self, name: str, script: str, timeout: float = 0, own_group: bool = True, limit: int = 0):
        leaf = f"{name}/exec-{uuid.uuid4().hex[:8]}"
        group = self.new_group(leaf) if own_group else Group(f"{self.group.path}{name}")
        return pb.ExecSyncRequest(
            container_id=name, process=self.process_message(["sh", "-c", script]), timeout_nano=int(timeout * 1e9),
            cgroup=group.message(), output_limit=limit)

    def execute(self, name: str, script: str, deadline: float = 60, **options):
        return self.client.call("ExecSync", self.exec_request(name, script, **options), deadline)

    def exits(self, acknowledged: int = 0, deadline: float = 60, client: Client | None = None):
        request = pb.WaitExitsRequest(acknowledged=acknowledged)
        return list((client or self.client).call("WaitExits", request, deadline).exits)

    def wait_exit(self, name: str, deadline: float = 60):
        """The exit of a container; those before it are acknowledged, it is not."""
        acknowledged = 0
        while True:
            for exit in self.exits(acknowledged, deadline):
                if exit.container_id == name:
                    return exit
                acknowledged = exit.sequence

    def log(self, name: str) -> list[tuple[str, str, str]]:
        """(stream, tag, content) of each record."""
        return [tuple(line.split(" ", 3)[1:]) for line in self.log_path(name).read_text().split("\n")[:-1]]

    def wait_log(self, name: str, content: str, deadline: float = 60) -> None:
        """Until a record with that content is there."""
        wait.until(lambda: any(record[2] == content for record in self.log(name)), f"{content!r} in the log", deadline)

    def close(self) -> None:
        """Ends the pod by its shim, or, when that is gone or fails, by its cgroups."""
        try:
            client = self.connect()
            client.call("StopSandbox")
            client.call("Shutdown")
            self.process.wait(60)
        except (Closed, ShimError, OSError, subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for group in self.groups:
                for pid in group.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, 9)
        self.client.close()
        for group in reversed(self.groups):
            group.remove()
        self.group.remove()
        shutil.rmtree(self.directory)
