"""Frames as they pass an interface: a packet socket in its namespace, from its opening on."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import struct

from . import wait
from .netns import Namespace

ETH_P_ALL = 3
HEADER = 14


@dataclasses.dataclass(frozen=True)
class Frame:
    """What cases ask of a frame; addresses and ports are empty where it has none."""

    kind: int
    source: str = ""
    target: str = ""
    protocol: int = 0
    ports: tuple[int, int] = (0, 0)
    data: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Frame:
        kind = int.from_bytes(data[12:14], "big")
        packet = data[HEADER:]
        if kind == 0x0800 and len(packet) >= 20:
            source, target, protocol = packet[12:16], packet[16:20], packet[9]
            rest = packet[(packet[0] & 15) * 4:]
        elif kind == 0x86DD and len(packet) >= 40:
            source, target, protocol = packet[8:24], packet[24:40], packet[6]
            rest = packet[40:]
        else:
            return cls(kind, data=data)
        ports = struct.unpack("!HH", rest[:4]) if protocol in (6, 17) and len(rest) >= 4 else (0, 0)
        return cls(kind, str(ipaddress.ip_address(source)), str(ipaddress.ip_address(target)), protocol, ports, data)


class Capture:
    """A context in which what passes `interface` of `space`, in either direction, is kept."""

    def __init__(self, space: Namespace, interface: str):
        def open_socket() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            opened.bind((interface, ETH_P_ALL))
            opened.setblocking(False)
            return opened

        self.socket = space.call(open_socket)
        self.seen: list[Frame] = []

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def frames(self) -> list[Frame]:
        """All up to now."""
        while True:
            try:
                self.seen.append(Frame.parse(self.socket.recv(65536)))
            except BlockingIOError:
                return self.seen

    def flow(self, source: str, target: str) -> list[Frame]:
        """Packets from one address to another, up to now."""
        return [frame for frame in self.frames() if (frame.source, frame.target) == (source, target)]

    def wait_for(self, condition, what: str, deadline: float = 60) -> Frame:
        """The first frame that meets `condition`."""
        return wait.until(lambda: next(filter(condition, self.frames()), None), what, deadline)
