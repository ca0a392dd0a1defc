"""A program at a terminal, as a person has it: what is typed, what is seen, and the window's size."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios

from lib import wait


class Session:
    """One program whose standard streams and controlling terminal are a pseudo terminal; `stdout` may be another."""

    def __init__(self, command: list[str], environment: dict[str, str], rows: int = 24, columns: int = 80,
                 stdout: int | None = None):
        self.master, slave = pty.openpty()
        self.seen = b""
        self._resize(rows, columns)
        self.before = self.settings()  # the program may change them before anybody looks
        # setsid, then the first terminal opened becomes the controlling one.
        self.process = subprocess.Popen(command, stdin=slave, stdout=stdout or slave, stderr=slave, env=environment,
                                        start_new_session=True, preexec_fn=take_terminal)
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def _resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        """As a terminal emulator does it: the kernel tells the foreground group."""
        self._resize(rows, columns)

    def settings(self) -> list:
        return termios.tcgetattr(self.master)

    def until(self, text: str, deadline: float = 60) -> str:
        """Reads until `text` was seen; gives what came, and forgets it."""
        wanted = text.encode()

        def found() -> bool:
            self._read()
            return wanted in self.seen
        try:
            wait.until(found, f"{text!r} on the terminal", deadline)
        except AssertionError as error:
            raise AssertionError(f"{error}; seen: {self.seen!r}") from None
        shown, self.seen = self.seen, b""
        return shown.decode()

    def ends(self, deadline: float = 60) -> int:
        """The program's exit status."""
        def ended() -> bool:
            self._read()
            return self.process.poll() is not None
        wait.until(ended, f"the end of {self.process.args}; seen: {self.seen!r}", deadline)
        self._read()
        return self.process.returncode

    def _read(self) -> None:
        while select.select([self.master], [], [], 0)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # EIO: nobody has the other end
                return
            if not piece:
                return
            self.seen += piece

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
