"""Network namespaces held by descriptors: a node for each daemon, and an outside world on its uplink.

They hang on no mount and no name, so that the end of the test run, however it comes, takes them away.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading

from .wait import PATIENCE

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def in_thread(body):
    """The result of `body` on a thread of its own, which may change its namespaces and then ends."""
    box: list = []

    def run() -> None:
        try:
            box.append((True, body()))
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            box.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    succeeded, value = box[0]
    if not succeeded:
        raise value
    return value


def checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


class Namespace:
    """A network namespace, with its loopback up unless somebody else is to do that."""

    def __init__(self, loopback: bool = True) -> None:
        def make() -> int:
            checked(LIBC.unshare(CLONE_NEWNET), "unshare")
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(make)
        self.inode = os.fstat(self.fd).st_ino
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        if loopback:
            self.run("ip", "link", "set", "lo", "up")

    @classmethod
    def host(cls) -> Namespace:
        """The one this process is in, as it is."""
        return cls.of("self")

    @classmethod
    def of(cls, process: int | str) -> Namespace:
        """The one that a process is in, as it is; held until `close`."""
        space = cls.__new__(cls)
        space.fd = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        space.inode = os.fstat(space.fd).st_ino
        space.path = f"/proc/{os.getpid()}/fd/{space.fd}"
        return space

    def close(self) -> None:
        os.close(self.fd)

    def command(self, *arguments: str) -> list[str]:
        """`arguments` as a command line that runs in this namespace, and in no other mount namespace."""
        return ["nsenter", f"--net={self.path}", "--", *arguments]

    def run(self, *arguments: str, check: bool = True, **more) -> str:
        # From a thread inside: without nsenter it is one program less, of which the census alone starts nine.
        done = self.call(lambda: subprocess.run(arguments, capture_output=True, text=True, **more))
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> list:
        """What `ip -j` or `nft -j` prints."""
        return json.loads(self.run(*arguments) or "[]")

    def links(self) -> dict[str, dict]:
        return {link["ifname"]: link for link in self.json("ip", "-j", "-d", "link", "show")}

    def call(self, body):
        """`body` on a thread inside this namespace: sockets it makes stay there."""
        def entered():
            checked(LIBC.setns(self.fd, CLONE_NEWNET), "setns")
            return body()

        return in_thread(entered)

    def listen(self, address: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """A listening TCP socket inside, to be served from anywhere."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return self.call(lambda: socket.create_server((address, port), family=family, backlog=64))

    def connect(self, address: str, port: int, timeout: float = 60 * PATIENCE) -> socket.socket:
        return self.call(lambda: socket.create_connection((address, port), timeout=timeout))

    def fetch(self, address: str, port: int, path: str = "/", timeout: float = 60 * PATIENCE) -> str:
        """The answer to an HTTP/1.0 GET, headers and all."""
        host = f"[{address}]" if ":" in address else address
        with contextlib.closing(self.connect(address, port, timeout)) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode(errors="replace")


class Node:
    """A namespace that plays a node, and one beyond its uplink that plays the world and knows no pod."""

    ADDRESS, OUTSIDE = "198.18.0.2", "198.18.0.1"
    ADDRESS6, OUTSIDE6 = "fd98:18::2", "fd98:18::1"

    def __init__(self) -> None:
        self.inside, self.outside = Namespace(), Namespace()
        self.inside.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "world",
                        "netns", self.outside.path)
        for space, link, v4, v6 in ((self.inside, "uplink", self.ADDRESS, self.ADDRESS6),
                                    (self.outside, "world", self.OUTSIDE, self.OUTSIDE6)):
            space.run("ip", "link", "set", link, "addrgenmode", "none")  # no address comes by itself, later
            space.run("ip", "address", "add", f"{v4}/24", "dev", link)
            space.run("ip", "address", "add", f"{v6}/64", "dev", link, "nodad")
            space.run("ip", "link", "set", link, "up")
        self.inside.run("ip", "route", "add", "default", "via", self.OUTSIDE)
        self.inside.run("ip", "-6", "route", "add", "default", "via", self.OUTSIDE6)

    def close(self) -> None:
        self.inside.close()
        self.outside.close()
