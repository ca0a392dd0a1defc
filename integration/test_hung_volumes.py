"""Volumes whose file system does not answer, as NFS without its server: who asks for them waits, and nobody else."""

import ctypes
import errno
import os
import pathlib
import struct
import subprocess

import grpc
import pytest

from lib import wait
from lib.census import read_link
from lib.cri import SLEEPER
from lib.failpoints import Call
from lib.streams import SpdyCommand, exec_url, roles
from lib.stubs import pb
from test_userns import mapped, run_pod

LIBC = ctypes.CDLL(None, use_errno=True)
# More than Swift's own threads, one a processor, and more than the daemon keeps for records.
MANY = max(os.cpu_count() or 1, 8) + 1
# fuse_init_out of <linux/fuse.h>, with FUSE_PARALLEL_DIROPS: each who looks waits for an answer of his own.
INITIALIZED = struct.pack("<4I2H2I2H8I", 7, 31, 65536, 1 << 18, 12, 9, 4096, 1, 0, 0, *[0] * 8)
LOOKUP, FORGET, GETATTR, OPEN, READ, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 36, 42
ROOT = 1


def attributes(node: int) -> bytes:
    """fuse_attr: a directory, or a file of one page."""
    size, mode = (0, 0o40755) if node == ROOT else (4096, 0o100644)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class Hung:
    """A FUSE at `path` that is there, and answers nothing; who waits for it can be killed."""

    def __init__(self, path: pathlib.Path):
        self.path, self.control = path, path.parent / "control"
        for directory in (self.path, self.control):
            directory.mkdir()
        self.connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.connection},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        assert LIBC.mount(b"hung", bytes(path), b"fuse", 0, options) == 0, os.strerror(ctypes.get_errno())
        subprocess.run(["mount", "-t", "fusectl", "control", self.control], check=True)
        (number,) = struct.unpack("<8xQ", os.read(self.connection, 1 << 17)[:16])
        self.answer(number, INITIALIZED)
        mounts = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
        (device,) = [fields[2] for fields in mounts if fields[4] == str(path)]
        self.waiting = self.control / device.split(":")[1] / "waiting"

    def answer(self, number: int, answer: bytes = b"", error: int = 0) -> None:
        os.write(self.connection, struct.pack("<IiQ", 16 + len(answer), -error, number) + answer)

    def serve(self, count: int) -> None:
        """Has files named by numbers, until so many are read from: no read is answered."""
        while count:
            request = os.read(self.connection, 1 << 17)
            operation, number, node = struct.unpack("<4xIQQ", request[:24])
            if operation == LOOKUP:
                found = int(request[40:-1]) + ROOT + 1
                self.answer(number, struct.pack("<4Q2I", found, 0, 60, 60, 0, 0) + attributes(found))
            elif operation == GETATTR:
                self.answer(number, struct.pack("<Q2I", 60, 0, 0) + attributes(node))
            elif operation == OPEN:
                self.answer(number, bytes(16))
            elif operation == READ:
                count -= 1
            elif operation not in (FORGET, INTERRUPT, BATCH_FORGET):
                self.answer(number, error=errno.ENOSYS)

    def waited_for(self, count: int) -> None:
        wait.until(lambda: int(self.waiting.read_text()) == count, f"{count} who wait for {self.path}")

    def end(self) -> None:
        """Whoever waits gets an error. Idempotent."""
        if self.connection < 0:
            return
        os.close(self.connection)
        self.connection = -1
        subprocess.run(["umount", self.control], check=True)
        subprocess.run(["umount", "-l", self.path], check=True)


@pytest.fixture
def hung(tmp_path):
    found = Hung(tmp_path / "hung")
    yield found
    found.end()


def answers(cri, beside) -> None:
    """The node is as ever for others."""
    assert cri.call("Version").version
    assert all(item.status for item in cri.call("Status").status.conditions)
    assert cri.pods() and cri.containers()
    assert beside.shell("echo here") == "here\n"
    pod = cri.run_pod()
    assert pod.output("echo new") == "new\n"
    pod.remove()


@pytest.mark.parametrize("kind, refusal", [
    ("propagation", grpc.StatusCode.INVALID_ARGUMENT), ("ids", grpc.StatusCode.FAILED_PRECONDITION),
    ("device", grpc.StatusCode.INVALID_ARGUMENT)])
def test_creations_that_look_at_one(cri, hung, kind, refusal):
    beside = cri.run_pod().run(SLEEPER)
    pod = run_pod(cri) if kind == "ids" else cri.run_pod()

    def create(number: int):
        path = f"{hung.path}/{number}"
        asked = {
            "propagation": dict(mounts=[pb.Mount(
                container_path="/x", host_path=path, propagation=pb.PROPAGATION_HOST_TO_CONTAINER)]),
            "ids": dict(mounts=[mapped(path, "/x")]),
            "device": dict(devices=[pb.Device(container_path="/dev/x", host_path=path, permissions="r")])}
        config = pod.container_config(SLEEPER, name=f"waits-{number}", **asked[kind])
        return cri.refused(
            "CreateContainer", timeout=300, pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)

    calls = [Call(create, number) for number in range(MANY)]
    try:
        hung.waited_for(MANY)
        answers(cri, beside)
        pod.stop()
    finally:
        hung.end()
    for call in calls:
        refused = call.result()
        assert refused.code == refusal and str(hung.path) in refused.text, refused


def test_a_start_that_mounts_one(cri, hung):
    """An ordinary mount is looked at by its own container's start alone."""
    pod = cri.run_pod()
    beside = pod.run(SLEEPER)
    container = pod.create(SLEEPER, name="waits", mounts=[
        pb.Mount(container_path="/x", host_path=f"{hung.path}/volume")])
    start = Call(container.start)
    hung.waited_for(1)
    answers(cri, beside)
    pod.stop()
    assert container.status().state == pb.CONTAINER_EXITED and beside.status().state == pb.CONTAINER_EXITED
    pod.remove()


def pipes(daemon) -> list[str]:
    directory = f"/proc/{daemon.pid}/fd"
    return [name for name in os.listdir(directory) if read_link(f"{directory}/{name}").startswith("pipe:")]


def test_commands_that_send_from_one(cri, daemon, listening, hung):
    """sendfile(2) keeps the lock of the pipe to us while it waits for the file: whoever closes that pipe waits, too."""
    beside = cri.run_pod().run(SLEEPER)
    wait.until(lambda: not pipes(daemon), "earlier cases' pipes to be gone")
    serving = Call(hung.serve, MANY)
    reader = cri.run_pod().run(SLEEPER, mounts=[pb.Mount(container_path="/x", host_path=str(hung.path))])
    commands = [
        SpdyCommand(daemon.node.inside, exec_url(reader, "cat", f"/x/{number}"), roles()) for number in range(MANY)]
    serving.result()
    for command in commands:
        command.close()
    wait.until(lambda: not pipes(daemon), "the daemon to let go of the commands' pipes")
    answers(cri, beside)
    hung.end()
    assert reader.shell("echo here") == "here\n"
