"""The client's side of SPDY/3.1, as much of it as kubelet's clients speak."""

from __future__ import annotations

import socket
import struct
import zlib

from .wait import PATIENCE

WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning
www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin""".split()
TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0.")
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in WORDS) + TEXT.encode()
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS = 1, 2, 3, 4, 6, 7, 8
FIN = 1


class Connection:
    """Frames over a transport with `sendall` and `recv`. Streams' bytes are gathered as they come."""

    def __init__(self, transport, buffered: bytes = b"") -> None:
        self.transport, self.buffer = transport, bytearray(buffered)
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        self.inflate = zlib.decompressobj(15, DICTIONARY)
        self.next = 1
        self.data: dict[int, bytearray] = {}
        self.counts: dict[int, int] = {}
        self.replied: set[int] = set()
        self.finished: set[int] = set()
        self.reset: dict[int, int] = {}
        self.pings: list[int] = []
        self.closed = False
        self.keep = True  # False: bytes are counted and thrown away

    def open(self, fin: bool = False, **headers: str) -> int:
        stream, self.next = self.next, self.next + 2
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), str(value).encode()):
                block += struct.pack(">I", len(text)) + text
        self.send_headers(stream, block, fin)
        return stream

    def send_headers(self, stream: int, block: bytes, fin: bool = False) -> None:
        packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.control(SYN_STREAM, struct.pack(">IIH", stream, 0, 0) + packed, FIN if fin else 0)

    def control(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.transport.sendall(struct.pack(">HHI", 0x8003, kind, flags << 24 | len(body)) + body)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.transport.sendall(struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data)

    def send_reset(self, stream: int, status: int = 5) -> None:
        self.control(RST_STREAM, struct.pack(">II", stream, status))

    def pump(self, until) -> None:
        """Takes what comes until the condition holds; the transport's timeout bounds each wait."""
        while not until():
            if not self.frame():
                try:
                    chunk = self.transport.recv(1 << 16)
                except ConnectionResetError:
                    chunk = b""
                if not chunk:
                    self.closed = True
                    assert until(), f"the server has closed; finished {self.finished}, reset {self.reset}"
                    return
                self.buffer += chunk

    def pump_to_end(self) -> None:
        self.pump(lambda: self.closed)

    def frame(self) -> bool:
        if len(self.buffer) < 8:
            return False
        head, tail = struct.unpack(">II", self.buffer[:8])
        flags, length = tail >> 24, tail & 0xffffff
        if len(self.buffer) < 8 + length:
            return False
        body = bytes(self.buffer[8:8 + length])
        del self.buffer[:8 + length]
        if not head >> 31:
            assert head in self.replied, f"data on stream {head} before its SYN_REPLY"
            self.counts[head] = self.counts.get(head, 0) + length
            if self.keep:
                self.data.setdefault(head, bytearray()).extend(body)
            if flags & FIN:
                self.finished.add(head)
            return True
        kind = head & 0xffff
        number = struct.unpack(">I", body[:4])[0] if len(body) >= 4 else 0
        if kind == SYN_REPLY:
            self.inflate.decompress(body[4:])
            self.replied.add(number)
        elif kind == RST_STREAM:
            self.reset[number] = struct.unpack(">I", body[4:8])[0]
        elif kind == PING:
            self.pings.append(number)
        return True


class Refused(Exception):
    """The answer to an upgrade that is none."""

    def __init__(self, head: str, rest: bytes) -> None:
        lines = head.split("\r\n")
        self.status = int(lines[0].split()[1]) if head.startswith("HTTP/") else 0
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:] if ": " in line]
        self.body = rest
        super().__init__(lines[0] if head else "the server has closed the connection")


def upgrade(space, url: str, headers: list[tuple[str, str]], method: str = "POST", host: str | None = None,
            timeout: float = 60 * PATIENCE) -> tuple[socket.socket, str, bytes]:
    """A connection from inside a network namespace after its 101: socket, head, and what came behind it."""
    authority, path = url.removeprefix("http://").split("/", 1)
    address, port = authority.rsplit(":", 1)
    connection = space.connect(address, int(port), timeout)
    lines = [f"{method} /{path} HTTP/1.1", f"Host: {host or authority}", *(f"{name}: {text}" for name, text in headers)]
    got = b""
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in got:
            chunk = connection.recv(4096)
            if not chunk:
                break
            got += chunk
    except ConnectionError:
        pass
    head, _, rest = got.partition(b"\r\n\r\n")
    text = head.decode()
    if not text.startswith("HTTP/1.1 101 "):
        connection.close()
        raise Refused(text, rest)
    return connection, text, rest


def connect(space, url: str, *protocols: str, **more) -> Connection:
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"),
               *(("X-Stream-Protocol-Version", name) for name in protocols)]
    connection, head, rest = upgrade(space, url, headers + more.pop("headers", []), **more)
    spoken = Connection(connection, rest)
    spoken.protocol = next(line.split(": ")[1] for line in head.split("\r\n")
                           if line.lower().startswith("x-stream-protocol-version: "))
    return spoken
