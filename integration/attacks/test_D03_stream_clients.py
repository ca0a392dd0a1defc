"""D03: clients that leave, and commands that cannot run, leave nothing behind (CVE-2022-23471, CVE-2025-64329)."""

import contextlib
import itertools
import os

import pytest

from lib import streams, wait
from lib.census import read_link
from lib.cri import SLEEPER
from lib.rounds import FULL
from lib.streams import SpdyCommand, WebSocketCommand, attach_url, exec_url, roles

ROUNDS = 5000 if FULL else 60


pytestmark = pytest.mark.usefixtures("listening")


@pytest.fixture
def running(pod):
    return pod.run(SLEEPER, stdin=True)


@pytest.fixture
def flat(daemon, running):
    """Holds that descriptors, threads and memory are afterwards what they were after one round."""
    def held() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{daemon.pid}/fd")), len(os.listdir(f"/proc/{daemon.pid}/task"))

    def check(body) -> None:
        body()
        SpdyCommand(daemon.node.inside, exec_url(running, "true"), roles()).finish().close()
        streams.settled(daemon)
        before, memory = held(), streams.resident(daemon)
        for _ in range(ROUNDS):
            body()
        wait.until(lambda: held()[0] <= before[0], f"{before} descriptors and threads", 60)
        # Of pools, which come with the first of so many at once; 32 are for reading and writing.
        assert held()[1] <= before[1] + 40 + os.cpu_count()
        assert streams.resident(daemon) - memory < 16 << 20
        assert running.shell("echo alive") == "alive\n"

    return check


@pytest.mark.parametrize("kind", [SpdyCommand, WebSocketCommand])
def test_a_missing_program_with_a_terminal_that_is_resized(flat, running, daemon, kind):
    number = itertools.count()

    def body() -> None:
        """Every second one stays until it is told, since who leaves may do so before anything has begun."""
        url = exec_url(running, "/none", stdin=True, tty=True)
        command = kind(daemon.node.inside, url, roles(stdin=True, tty=True))
        with contextlib.suppress(ConnectionError):  # it has been told by now, and is not waited for for ever
            for width in range(1, 5):
                command.resize(width, 10)
        if next(number) % 2:
            command.finish().close()
        else:
            command.vanish()

    flat(body)


@pytest.mark.parametrize("kind", [SpdyCommand, WebSocketCommand])
def test_attachments_that_are_reset(flat, running, daemon, kind):
    number = itertools.count()

    def pipes() -> int:
        """Whatever else the daemon opens and closes meanwhile."""
        folder = f"/proc/{daemon.pid}/fd"
        return sum(read_link(f"{folder}/{name}").startswith("pipe:") for name in os.listdir(folder))

    def body() -> None:
        """The container writes nothing. One with stdin may end with that; for one without the client alone decides."""
        before, stdin = pipes(), next(number) % 2 == 0
        command = kind(daemon.node.inside, attach_url(running, stdin=stdin), roles(stdin=stdin))
        if stdin:
            command.send(b"x")
        wait.until(lambda: pipes() >= before + 2 + stdin, "the attachment's pipes", pause=0.001)
        command.vanish()
        wait.until(lambda: pipes() <= before, f"{before} pipes", 60, pause=0.001)

    flat(body)


def test_clients_of_commands_that_run_on(running, daemon):
    """One that waits for its input, one that writes, one that does not read; and a client without streams."""
    SpdyCommand(daemon.node.inside, exec_url(running, "true"), roles()).finish().close()
    before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for kind in (SpdyCommand, WebSocketCommand):
        for script in ("echo up; cat; exec sleep 8765", "echo up; exec yes", "echo up; exec sleep 8765"):
            url = exec_url(running, "sh", "-c", script, stdin=True)
            command = kind(daemon.node.inside, url, roles(stdin=True))
            command.read_until(b"up")
            command.send(bytes(30000))
            command.vanish()
        kind(daemon.node.inside, exec_url(running, "true"), []).vanish()
    wait.until(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before, f"{before} descriptors", 60)
    # It was closed, not killed: what does not write runs on. A shell between fork and exec is there twice.
    wait.until(lambda: running.shell("ps").count("sleep 8765") == 4, "four that run on")
    wait.until(lambda: "yes" not in running.shell("ps"), "the end of those that write")
    running.shell("killall sleep; true")
