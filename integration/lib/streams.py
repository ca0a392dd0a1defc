"""Clients of Exec, Attach and PortForward, as kubectl and crictl are, over either transport."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct

from . import spdy, wait, websocket
from .stubs import pb

CHANNELS = ["stdin", "stdout", "stderr", "error", "resize"]


class SpdyCommand:
    """One command or attachment over SPDY."""

    def __init__(self, space, url: str, roles: list[str], protocol: str = "v4.channel.k8s.io", **more) -> None:
        self.connection = spdy.connect(space, url, protocol, **more)
        self.streams = {role: self.connection.open(streamtype=role) for role in ["error", *roles]}

    def send(self, data: bytes) -> None:
        self.connection.send(self.streams["stdin"], data)

    def end_input(self) -> None:
        self.connection.send(self.streams["stdin"], b"", fin=True)

    def resize(self, width: int, height: int) -> None:
        self.connection.send(self.streams["resize"], json.dumps({"Width": width, "Height": height}).encode())

    def output(self, role: str = "stdout") -> bytes:
        return bytes(self.connection.data.get(self.streams[role], b""))

    def read_until(self, text: bytes, role: str = "stdout") -> bytes:
        self.connection.pump(lambda: text in self.output(role))
        return self.output(role)

    def finish(self) -> SpdyCommand:
        """To the end, which the server makes: the status after all output, then the streams and the connection."""
        self.connection.pump(lambda: self.streams["error"] in self.connection.finished)
        # The status is the last word: nothing comes behind it.
        before = {role: len(self.output(role)) for role in self.streams}
        self.connection.pump_to_end()
        assert before == {role: len(self.output(role)) for role in self.streams}
        return self

    @property
    def status(self) -> dict:
        return json.loads(self.output("error"))

    def close(self) -> None:
        self.connection.transport.close()

    def vanish(self) -> None:
        reset(self.connection.transport)


class WebSocketCommand:
    """One command or attachment over WebSocket."""

    def __init__(self, space, url: str, roles: list[str], protocol: str = "v5.channel.k8s.io", **more) -> None:
        self.socket = websocket.connect(space, url, *([protocol] if protocol else []), **more)
        self.text = "base64" in protocol
        self.data = {role: bytearray() for role in CHANNELS}
        self.messages: list[tuple[str, bytes]] = []

    def write(self, channel: int, data: bytes) -> None:
        if self.text:
            self.socket.send(b"%d" % channel + base64.b64encode(data), websocket.TEXT)
        else:
            self.socket.send(bytes([channel]) + data)

    def send(self, data: bytes) -> None:
        self.write(0, data)

    def end_input(self) -> None:
        self.socket.send(bytes([255, 0]))

    def resize(self, width: int, height: int) -> None:
        self.write(4, json.dumps({"Width": width, "Height": height}).encode())

    def step(self) -> bool:
        message = self.socket.receive()
        if message is None:
            return False
        opcode, data = message
        assert opcode == (websocket.TEXT if self.text else websocket.BINARY)
        role = CHANNELS[data[0] - (ord("0") if self.text else 0)]
        data = base64.b64decode(data[1:]) if self.text else data[1:]
        self.messages.append((role, data))
        self.data[role] += data
        return True

    def output(self, role: str = "stdout") -> bytes:
        return bytes(self.data[role])

    def read_until(self, text: bytes, role: str = "stdout") -> bytes:
        while text not in self.data[role]:
            assert self.step(), f"closed: {self.data}"
        return self.output(role)

    def finish(self) -> WebSocketCommand:
        while self.step():
            pass
        assert self.socket.closed == 1000, self.socket.closed
        return self

    @property
    def status(self) -> dict:
        return json.loads(self.output("error"))

    def close(self) -> None:
        self.socket.close()

    def vanish(self) -> None:
        reset(self.socket.connection)


def reset(connection: socket.socket) -> None:
    """Ends a connection without a word, as a machine does that loses its power."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def listening(daemon) -> None:
    """Has the daemon begin to listen for streams."""
    if not daemon.alive:
        daemon.start()
    pod = daemon.client.run_pod()
    daemon.client.call("PortForward", pb.PortForwardRequest(pod_sandbox_id=pod.id))
    daemon.client.remove_all()
    daemon.rests()


def resident(daemon) -> int:
    """Bytes of the daemon's memory."""
    with open(f"/proc/{daemon.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settled(daemon) -> None:
    """Returns when the daemon's memory has stayed the same for a while."""
    seen = [0]

    def look() -> bool:
        seen.append(resident(daemon))
        return len(seen) > 10 and len(set(seen[-8:])) == 1

    wait.until(look, "an end of the daemon's growth")


def exec_url(container, *command: str, stdin=False, stdout=True, stderr=True, tty=False) -> str:
    request = pb.ExecRequest(container_id=container.id, cmd=command, stdin=stdin, stdout=stdout,
                             stderr=stderr and not tty, tty=tty)
    return container.client.call("Exec", request).url


def attach_url(container, stdin=False, stdout=True, stderr=True, tty=False) -> str:
    request = pb.AttachRequest(container_id=container.id, stdin=stdin, stdout=stdout, stderr=stderr and not tty,
                               tty=tty)
    return container.client.call("Attach", request).url


def roles(stdin=False, stdout=True, stderr=True, tty=False) -> list[str]:
    wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "resize": tty}
    return [role for role, is_wanted in wanted.items() if is_wanted]


class Forward:
    """Port forwarding over one SPDY connection."""

    def __init__(self, space, url: str, tunnel: bool = False) -> None:
        if tunnel:
            self.connection = spdy.Connection(websocket.connect(space, url, "SPDY/3.1+portforward.k8s.io"))
        else:
            self.connection = spdy.connect(space, url, "portforward.k8s.io")
        self.requests = 0

    def open(self, port: int) -> tuple[int, int]:
        """Error and data stream of one forwarded connection."""
        self.requests += 1
        error = self.connection.open(streamtype="error", port=port, requestid=self.requests)
        self.connection.send(error, b"", fin=True)
        return error, self.connection.open(streamtype="data", port=port, requestid=self.requests)

    def text(self, stream: int) -> bytes:
        return bytes(self.connection.data.get(stream, b""))

    def close(self) -> None:
        self.connection.transport.close()
