"""Arming a daemon's failpoints, and holding it at one: what makes a race a sequence."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from . import wait


def arm(daemon, *points: str) -> None:
    """Starts the daemon again with these failpoints, `PLACE=ACTION`; with none to disarm."""
    if daemon.alive:
        daemon.terminate()
    daemon.start(env={**os.environ, "SWIFTLET_FAILPOINTS": ",".join(points)})


class Gate:
    """A place at which a daemon waits until it is let through."""

    def __init__(self, daemon, place: str, visit: int = 1):
        self.daemon, self.place = daemon, place
        self.path = daemon.base / f"gate-{place}"
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path)
        self.start = daemon.output.stat().st_size if daemon.output.exists() else 0
        self.point = f"{place}={visit}*hold:{self.path}"

    def reached(self) -> None:
        """The daemon waits here now."""
        def seen() -> bool:
            with open(self.daemon.output, "rb") as output:
                output.seek(self.start)
                return f"failpoint {self.place}: hold".encode() in output.read()

        wait.until(seen, f"the daemon at {self.place}")

    def open(self) -> None:
        def writer() -> int:
            try:
                return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO, error
                return -1

        os.close(wait.until(lambda: fd if (fd := writer()) >= 0 else None, f"somebody who waits at {self.place}"))


@contextlib.contextmanager
def held(daemon, place: str):
    """The daemon, started again, holds at a place until the gate is opened; disarmed afterwards."""
    gate = Gate(daemon, place)
    arm(daemon, gate.point)
    try:
        yield gate
    finally:
        arm(daemon)


class Call:
    """A call under way in a thread of its own."""

    def __init__(self, function, *arguments, **more):
        self.value, self.error = None, None

        def run() -> None:
            try:
                self.value = function(*arguments, **more)
            except Exception as error:  # handed to who asks for the result
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    @property
    def waits(self) -> bool:
        return self.thread.is_alive()

    def result(self, deadline: float = 60):
        self.thread.join(deadline)
        assert not self.waits, f"no answer within {deadline} s"
        if self.error is not None:
            raise self.error
        return self.value
