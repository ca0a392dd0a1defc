"""Streams of the tests' own for Exec and Attach: pipes and terminals, read until a deadline."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time
import uuid

from lib import wait
from lib.wait import PATIENCE
from pod import Pod
from ttrpc import Client, pb


class Ends:
    """Our ends of up to three pipes, and the others' until they are given away."""

    def __init__(self, *names: str, capacity: int = 0) -> None:
        self.ours: dict[str, int] = {}
        self.theirs: list[int] = []
        for name in ("stdin", "stdout", "stderr"):
            if name in names:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                if capacity:
                    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, capacity)
                self.ours[name] = writing if name == "stdin" else reading
                self.theirs.append(reading if name == "stdin" else writing)

    def given(self) -> None:
        for end in self.theirs:
            os.close(end)
        self.theirs = []

    def write(self, data: bytes) -> None:
        os.write(self.ours["stdin"], data)

    def read(self, until: bytes | None = None, name: str = "stdout", deadline: float = 60) -> bytes:
        return read(self.ours[name], until, deadline)

    def close(self, *names: str) -> None:
        for name in names or tuple(self.ours):
            os.close(self.ours.pop(name))


def read(descriptor: int, until: bytes | None = None, deadline: float = 60) -> bytes:
    """What comes until some bytes have come, or until the end."""
    end = time.monotonic() + deadline * PATIENCE
    found = b""
    while until is None or until not in found:
        ready, _, _ = select.select([descriptor], [], [], max(0, end - time.monotonic()))
        assert ready, (found, until)
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # EIO: the terminal's other end is closed
            data = b""
        if not data:
            assert until is None, (found, until)
            return found
        found += data
    return found


def resize(master: int, width: int, height: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def exec_request(pod: Pod, name: str, argv: list[str], *streams: str, **fields):
    group = pod.new_group(f"{name}/exec-{uuid.uuid4().hex[:8]}")
    request = pb.ExecRequest(container_id=name, process=pod.process_message(argv), cgroup=group.message())
    for stream in streams:
        setattr(request, stream, True)
    request.MergeFrom(pb.ExecRequest(**fields))
    return request


def begin_exec(pod: Pod, name: str, script: str, *streams: str, client: Client | None = None) -> tuple[int, Ends]:
    """A command with pipes, and the number that `finish` takes."""
    ends = Ends(*streams)
    request = exec_request(pod, name, ["sh", "-c", script], *streams)
    stream = (client or pod.client).begin("Exec", request, descriptors=ends.theirs)
    ends.given()
    return stream, ends


def begin_terminal(
        pod: Pod, name: str, argv: list[str], client: Client | None = None, request=None, **fields
) -> tuple[int, int | None]:
    """A command with a terminal: the number that `finish` takes, and the master, if one comes."""
    if request is None:
        request = exec_request(pod, name, argv, **fields)
    request.process.tty = True
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            stream = (client or pod.client).begin("Exec", request, descriptors=[theirs.fileno()])
        ours.settimeout(60 * PATIENCE)
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    for _, _, data in ancillary:
        return stream, array.array("i", data)[0]
    return stream, None


def begin_attach(
        pod: Pod, name: str, *streams: str, client: Client | None = None, capacity: int = 0, number: int = 0
) -> tuple[int, Ends]:
    ends = Ends(*streams, capacity=capacity)
    request = pb.AttachRequest(container_id=name, client=number, **dict.fromkeys(streams, True))
    client = client or pod.client
    stream = client.begin("Attach", request, descriptors=ends.theirs)
    ends.given()
    # Requests of one connection are taken in order: once this is answered the client is attached.
    client.call("State")
    return stream, ends


def descriptors(pod: Pod) -> int:
    """How many the shim has open, once it is through with what it has answered."""
    pod.client.call("State")
    return len(os.listdir(f"/proc/{pod.process.pid}/fd"))


def idle_memory(pod: Pod) -> int:
    """KiB of the shim's own memory, once it gives nothing back any more: it does when it was idle for 0.1 s."""
    lowest, since = 1 << 30, time.monotonic()
    while time.monotonic() < since + 0.3:
        time.sleep(0.01)
        private = sum(
            int(line.split()[1]) for line in open(f"/proc/{pod.process.pid}/smaps_rollup")
            if line.startswith("Private_"))
        if private < lowest:
            lowest, since = private, time.monotonic()
    return lowest


def until_idle_memory(pod: Pod, most: int) -> None:
    """Waits until the shim has given back all but so many KiB: on a busy machine it may not have come to it yet."""
    wait.until(lambda: idle_memory(pod) <= most, f"memory of at most {most} KiB", 60)
