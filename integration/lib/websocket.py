"""The client's side of WebSocket (RFC 6455), as much of it as kubelet's clients speak."""

from __future__ import annotations

import base64
import os
import socket
import struct

from .spdy import upgrade

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    def __init__(self, connection: socket.socket, buffered: bytes = b"", protocol: str = "") -> None:
        self.connection, self.buffer, self.protocol = connection, bytearray(buffered), protocol
        self.closed: int | None = None  # the code of the server's closing
        self.stream = bytearray()  # for `recv`

    def send(self, data: bytes, opcode: int = BINARY, fin: bool = True, masked: bool = True) -> None:
        head = bytes([opcode | (0x80 if fin else 0)])
        length, bit = len(data), 0x80 if masked else 0
        if length < 126:
            head += bytes([bit | length])
        elif length < 1 << 16:
            head += struct.pack(">BH", bit | 126, length)
        else:
            head += struct.pack(">BQ", bit | 127, length)
        if masked:
            mask = os.urandom(4)
            repeated = (mask * (length // 4 + 1))[:length]
            data = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
            head += mask
        self.connection.sendall(head + data)

    def receive(self) -> tuple[int, bytes] | None:
        """The next message but the closing; None once the server has closed."""
        while self.closed is None:
            frame = self.frame()
            if frame is None:
                try:
                    chunk = self.connection.recv(1 << 16)
                except ConnectionResetError:  # it closed with something of ours unread
                    chunk = b""
                if not chunk:
                    return None
                self.buffer += chunk
            elif frame[0] == CLOSE:
                self.closed = struct.unpack(">H", frame[1][:2])[0] if frame[1] else 0
            else:
                return frame
        return None

    def frame(self) -> tuple[int, bytes] | None:
        if len(self.buffer) < 2:
            return None
        opcode, length, at = self.buffer[0] & 15, self.buffer[1] & 127, 2
        assert not self.buffer[1] & 128, "a server's frame is masked"
        for marker, size in ((126, 2), (127, 8)):
            if length == marker:
                if len(self.buffer) < at + size:
                    return None
                length, at = int.from_bytes(self.buffer[at:at + size], "big"), at + size
                break
        if len(self.buffer) < at + length:
            return None
        data = bytes(self.buffer[at:at + length])
        del self.buffer[:at + length]
        return opcode, data

    # as the transport of a tunnelled SPDY connection

    def sendall(self, data: bytes) -> None:
        # Its borders mean nothing: cut where nobody would.
        for at in range(0, len(data), 1000):
            self.send(data[at:at + 1000])

    def recv(self, count: int) -> bytes:
        while not self.stream:
            message = self.receive()
            if message is None:
                return b""
            self.stream += message[1]
        data = bytes(self.stream[:count])
        del self.stream[:count]
        return data

    def close(self) -> None:
        self.connection.close()


def connect(space, url: str, *protocols: str, **more) -> WebSocket:
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
               ("Sec-WebSocket-Key", base64.b64encode(os.urandom(16)).decode())]
    if protocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
    connection, head, rest = upgrade(space, url, headers + more.pop("headers", []), method="GET", **more)
    chosen = [line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-protocol: ")]
    return WebSocket(connection, rest, chosen[0] if chosen else "")
