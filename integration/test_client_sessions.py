"""`swiftlet exec -it`, `attach`, `run -it` and `port-forward` as a person uses them: at a terminal, and in a pipe."""

import concurrent.futures
import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import termios

import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.swiftlet import Swiftlet
from lib.terminal import Session

PROMPT = "/ # "


pytestmark = pytest.mark.usefixtures("listening")


@pytest.fixture
def swiftlet(programs, daemon, tmp_path):
    return Swiftlet(programs / "swiftlet", daemon, tmp_path)


@pytest.fixture
def at_terminal(swiftlet):
    sessions = []

    def start(*arguments: str, **more) -> Session:
        sessions.append(Session(swiftlet.command(*arguments), swiftlet.environment, **more))
        return sessions[-1]
    yield start
    for session in sessions:
        session.close()


def test_a_shell_at_the_terminal(at_terminal, pod):
    container = pod.run(SLEEPER)
    session = at_terminal("exec", "-it", container.id, "sh", rows=31, columns=97)
    session.until(PROMPT)
    assert not session.settings()[3] & (termios.ICANON | termios.ECHO), "each key goes to the other side as it is"
    session.type("echo $((6*7)) $TERM; tty\r")
    assert "42 xterm" in session.until("/dev/pts/")
    session.type("stty size\r")
    session.until("31 97")
    session.resize(40, 120)

    def has_the_size() -> bool:  # which does not come by the way that the keys come by
        session.type("stty size\r")
        return "40 120" in session.until(PROMPT)

    wait.until(has_the_size, "the new size")
    session.type("exit 23\r")
    assert session.ends() == 23
    assert session.settings() == session.before, "the terminal is as it was"


def test_keys_leave_a_session_and_the_command_runs_on(at_terminal, swiftlet, pod):
    container = pod.run(SLEEPER)
    session = at_terminal("exec", "-it", container.id, "--", "sh", "-c", "trap '' HUP; echo up; exec sleep 77777")
    session.until("up")
    session.type("\x10\x11")
    assert session.ends() == 0
    assert "runs on" in session.seen.decode()
    assert "sleep 77777" in swiftlet("exec", container.id, "--", "ps", "-o", "args")


def test_a_pipe_into_a_command_and_out_of_it(swiftlet, pod):
    container = pod.run(SLEEPER)
    text = "".join(f"line {number}\n" for number in range(20_000))
    done = swiftlet.run("exec", "-i", container.id, "--", "sh", "-c", "wc -l; echo done >&2; exit 9", input=text)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (9, "20000", "done\n")
    assert swiftlet("exec", "-i", container.id, "cat", input=text) == text


def test_a_terminal_for_a_script_is_a_warning(swiftlet, pod):
    container = pod.run(SLEEPER)
    done = swiftlet.run("exec", "-it", container.id, "--", "sh", "-c", "[ -t 1 ] || echo none", input="")
    assert (done.returncode, done.stdout) == (0, "none\n") and "no terminal" in done.stderr


def test_a_command_that_is_not_there(swiftlet, pod):
    container = pod.run(SLEEPER)
    assert "/no/such" in swiftlet.refused(1, "exec", container.id, "--", "/no/such")


def test_attach_shows_what_comes_and_passes_the_status_on(at_terminal, pod):
    container = pod.run(["sh", "-c", "while read line; do echo got $line; [ $line = end ] && exit 5; done"],
                        stdin=True, stdin_once=True)
    session = at_terminal("attach", "-i", container.id)
    session.type("one\n")
    session.until("got one")
    session.type("end\n")
    session.until("got end")
    assert session.ends() == 5


def run(swiftlet, *arguments: str) -> list[str]:
    """`run` of an image's container with directories of the case's own, gone with it."""
    return ["run", "--rm", "--log-root", str(swiftlet.directory / "logs"),
            "--volume-root", str(swiftlet.directory / "volumes"), *arguments]


def run_shell(at_terminal, swiftlet, name: str) -> Session:
    """A shell in a pod of its own, at its prompt."""
    session = at_terminal(*run(swiftlet, "-it", "--name", name, "busybox", "--", "sh"))
    session.until("press Enter")
    session.type("\r")
    session.until(PROMPT)
    return session


def test_run_for_a_shell_leaves_nothing(at_terminal, swiftlet):
    session = run_shell(at_terminal, swiftlet, "shell")
    session.type("hostname; exit 7\r")
    session.until("shell")
    assert session.ends() == 7
    assert swiftlet.json("pods") == []
    assert not list((swiftlet.directory / "logs").iterdir())


def test_run_that_is_left_leaves_the_pod(at_terminal, swiftlet):
    session = run_shell(at_terminal, swiftlet, "left")
    session.type("\x10\x11")
    assert session.ends() == 0 and "runs on" in session.seen.decode()
    assert [pod["name"] for pod in swiftlet.json("pods")] == ["left"]
    swiftlet("rm", "--force", "left")


def test_run_tells_all_of_a_container_that_ends_at_once(swiftlet):
    """It may be through before anybody is attached; its output and its status come all the same."""
    for _ in range(5):
        done = swiftlet.run(*run(swiftlet, "-i", "busybox", "--", "sh", "-c", "echo hi; exit 3"), input="")
        assert (done.returncode, done.stdout) == (3, "hi\n"), done.stderr
    assert swiftlet.json("pods") == []


def test_a_terminal_is_given_back_when_the_output_s_reader_leaves(at_terminal, pod):
    container = pod.run(SLEEPER)
    reading, writing = os.pipe()
    session = at_terminal("exec", "-it", container.id, "--", "sh", "-c", "while :; do echo x; done", stdout=writing)
    os.close(writing)
    assert os.read(reading, 2)
    os.close(reading)
    assert session.ends() == 128 + signal.SIGPIPE
    assert session.settings()[3] & termios.ICANON


PAGE = "a page of the pod"


@pytest.fixture
def forwarding(swiftlet, daemon):
    """Starts `port-forward`, and gives the process and the port on the node that it says."""
    running = []

    def start(*arguments: str):
        process = subprocess.Popen(swiftlet.command("port-forward", *arguments), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=swiftlet.environment)
        running.append(process)
        words = process.stdout.readline()
        assert words.startswith("Forwarding from 127.0.0.1:"), words + process.stderr.read()
        return process, int(words.split(":")[1].split()[0])
    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_a_port_of_a_pod_on_this_node(forwarding, daemon, pod):
    pod.run(["sh", "-c", f"mkdir /w; echo {PAGE} > /w/index.html; exec httpd -f -p 127.0.0.1:8080 -h /w"])
    process, port = forwarding(pod.id, ":8080")
    pages = []
    wait.until(lambda: pages.append(fetch(daemon, port)) or pages[-1], "the page")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(lambda _: fetch(daemon, port), range(24)))
    assert all(PAGE in page for page in pages)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_a_forwarded_connection_that_breaks_here_is_broken_there(forwarding, daemon, pod):
    """Downloads that are given up: the pod learns of each, and none is in the others' way."""
    container = pod.run(["sh", "-c", f"mkdir /w; echo {PAGE} > /w/index.html; head -c 8M /dev/zero > /w/big; "
                                     "exec httpd -f -p 127.0.0.1:8080 -h /w"])
    _, port = forwarding(pod.id, ":8080")
    wait.until(lambda: fetch(daemon, port), "the page")
    for _ in range(20):
        connection = daemon.node.inside.call(lambda: socket.create_connection(("127.0.0.1", port), 60))
        connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        assert connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    wait.until(lambda: PAGE in fetch(daemon, port), "the next one is served")
    established = " 01 "
    wait.until(lambda: established not in container.shell("cat /proc/net/tcp"), "the pod's side has ended")


def test_each_direction_of_a_forwarded_connection_ends_by_itself(forwarding, daemon, pod):
    """The far side answers only once it has seen the end of what it was told."""
    pod.run(["sh", "-c", "exec nc -l -p 8081 -e sh -c 'sort; echo last'"])
    _, port = forwarding(pod.id, ":8081")

    def ask() -> bytes:
        with daemon.node.inside.connect("127.0.0.1", port) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(b"b\na\n")
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(4096), b""))
        return b""  # nobody listened yet
    answers = []
    wait.until(lambda: answers.append(ask()) or answers[-1], "an answer")
    assert answers[-1] == b"a\nb\nlast\n"


def test_a_port_that_nobody_has(forwarding, daemon, pod):
    pod.run(SLEEPER)
    process, port = forwarding(pod.id, ":9")
    with daemon.node.inside.connect("127.0.0.1", port) as connection:
        assert connection.recv(1) == b""
    assert "port 9" in said(process)
    assert process.poll() is None, "the next connection may be luckier"


def test_the_pod_goes_while_its_port_is_forwarded(forwarding, pod):
    pod.run(SLEEPER)
    process, _ = forwarding(pod.id, ":80")
    pod.remove()
    assert process.wait(60) == 1
    assert "cannot forward" in said(process)


@pytest.mark.parametrize("port", ["http", "0", "1:2:3", "65536", "70000:1", ":0", "5:"])
def test_what_is_no_port(swiftlet, pod, port):
    assert "port" in swiftlet.refused(2, "port-forward", pod.id, port)


def test_a_local_port_that_is_taken(forwarding, swiftlet, pod):
    """Alone, and behind one that is free."""
    _, port = forwarding(pod.id, ":80")
    for wanted in ([f"{port}:80"], [":81", f"{port}:80"]):
        assert "another local port" in swiftlet.refused(1, "port-forward", pod.id, *wanted)


def said(process, deadline: float = 60) -> str:
    """A line for the person at the terminal."""
    wait.until(lambda: select.select([process.stderr], [], [], 0)[0], "a word of port-forward", deadline)
    return process.stderr.readline()


def fetch(daemon, port: int) -> str:
    try:
        return daemon.node.inside.fetch("127.0.0.1", port)
    except OSError:
        return ""
