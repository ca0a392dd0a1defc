"""A ttrpc client of the tests' own for proto/shim.proto: blocking, one thread, many calls open at once."""

from __future__ import annotations

import array
import pathlib
import socket
import struct
import subprocess
import tempfile
import time

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lib.wait import PATIENCE

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
SERVICE = "swiftlet.shim.v1.Shim"
HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE = 1, 2


class Messages:
    """The messages of shim.proto by name, from a descriptor set that protoc makes now."""

    def __init__(self) -> None:
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run(
                ["protoc", f"-I{PROTO}", f"--descriptor_set_out={out.name}", "shim.proto"], check=True)
            files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes())
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        self._pool = pool
        self.service = pool.FindServiceByName(SERVICE)

    def __getattr__(self, name: str):
        try:
            descriptor = self._pool.FindMessageTypeByName(f"swiftlet.shim.v1.{name}")
        except KeyError:
            raise AttributeError(name) from None
        return message_factory.GetMessageClass(descriptor)


pb = Messages()


class ShimError(Exception):
    """The shim answered with a status that is not OK."""

    def __init__(self, status) -> None:
        super().__init__(f"{status.code}: {status.message}")
        self.code = status.code
        self.message = status.message
        self.failure = status.failure if status.HasField("failure") else None


class Closed(Exception):
    """The shim closed the connection."""


class Client:
    """One connection. `call` waits for the answer; `begin` and `finish` keep several open."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._stream = -1
        self._methods: dict[int, str] = {}
        self._answers: dict[int, bytes] = {}
        self._buffer = bytearray()

    @classmethod
    def connect(cls, path: str | pathlib.Path) -> "Client":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(path))
        return cls(connection)

    def begin(self, method: str, request, descriptors: list[int] = (), timeout_nano: int = 0) -> int:
        """Sends a request; the number that `finish` takes."""
        self._stream += 2
        payload = pb.Request(
            service=SERVICE, method=method, payload=request.SerializeToString(),
            timeout_nano=timeout_nano).SerializeToString()
        self.socket.settimeout(60 * PATIENCE)  # not what the last answer left of its time
        frame = HEADER.pack(len(payload), self._stream, REQUEST, 0) + payload
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            sent = self.socket.sendmsg([frame], ancillary)
            frame = frame[sent:]
        self.socket.sendall(frame)
        self._methods[self._stream] = method
        return self._stream

    def finish(self, stream: int, deadline: float = 60):
        """The answer to a request. TimeoutError, ShimError or Closed when there is none."""
        end = time.monotonic() + deadline * PATIENCE
        while stream not in self._answers:
            self._read(end)
        response = pb.Response.FromString(self._answers.pop(stream))
        method = self._methods.pop(stream)
        if response.status.code:
            raise ShimError(response.status)
        return getattr(pb, f"{method}Response").FromString(response.payload)

    def call(self, method: str, request=None, deadline: float = 60, **options):
        if request is None:
            request = getattr(pb, f"{method}Request")()
        return self.finish(self.begin(method, request, **options), deadline)

    def _read(self, end: float) -> None:
        while True:
            if len(self._buffer) >= HEADER.size:
                length, stream, kind, _ = HEADER.unpack_from(self._buffer)
                assert kind == RESPONSE and length <= 16 << 20, (kind, length)
                if len(self._buffer) >= HEADER.size + length:
                    assert stream not in self._answers, f"stream {stream} answered twice"
                    self._answers[stream] = bytes(self._buffer[HEADER.size:HEADER.size + length])
                    del self._buffer[:HEADER.size + length]
                    return
            self.socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data

    def close(self) -> None:
        self.socket.close()
