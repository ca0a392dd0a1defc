"""Exec with the caller's streams: pipes and terminals, codes, ends, callers that go away (CRI.md 5.7)."""

import os
import pathlib

import pytest

from lib import wait
from child import usual
from streams import (
    Ends, begin_exec, begin_terminal, descriptors, exec_request, idle_memory, read, resize, until_idle_memory)
from test_shim_exec import alive, until_gone
from ttrpc import ShimError, pb

INVALID_ARGUMENT, NOT_FOUND = 3, 5


@pytest.fixture
def busy(pod):
    tty = pb.Device(path="/dev/tty", type="c", major=5, minor=0, mode=0o666)
    pod.client.call("Start", usual(pod, "c", "sleep 100000", devices=[tty]))
    return pod


def test_pipes(busy):
    stream, ends = begin_exec(busy, "c", "cat; echo err >&2; exit 42", "stdin", "stdout", "stderr")
    ends.write(b"one\n")
    assert ends.read(b"one\n") == b"one\n"
    ends.close("stdin")
    assert (ends.read(), ends.read(name="stderr")) == (b"", b"err\n")
    assert busy.client.finish(stream).exit_code == 42
    ends.close()


def test_streams_that_nobody_asked_for(busy):
    script = "cat; readlink /proc/self/fd/0; readlink /proc/self/fd/2; echo x >&2"
    stream, ends = begin_exec(busy, "c", script, "stdout")
    assert ends.read() == b"/dev/null\n/dev/null\n"
    assert busy.client.finish(stream).exit_code == 0
    ends.close()


def test_user_may_open_his_streams_again(busy):
    request = exec_request(
        busy, "c", ["sh", "-c", "cat < /dev/stdin > /dev/stdout; id -u > /dev/stderr"], "stdin", "stdout", "stderr")
    request.process.user.uid = 1000
    ends = Ends("stdin", "stdout", "stderr")
    stream = busy.client.begin("Exec", request, descriptors=ends.theirs)
    ends.given()
    ends.write(b"again")
    ends.close("stdin")
    assert (ends.read(), ends.read(name="stderr")) == (b"again", b"1000\n")
    assert busy.client.finish(stream).exit_code == 0
    ends.close()


def test_killed_and_missing(busy):
    stream, ends = begin_exec(busy, "c", "kill -9 $$")
    assert busy.client.finish(stream).exit_code == 137
    for argv in (["/nonexistent"], ["nonexistent"]):
        with pytest.raises(ShimError) as error:
            busy.client.call("Exec", exec_request(busy, "c", argv))
        assert (error.value.failure.step, error.value.failure.errno) == ("exec", 2)
    stream, master = begin_terminal(busy, "c", ["/nonexistent"])
    with pytest.raises(ShimError) as error:
        busy.client.finish(stream)
    assert error.value.failure.errno == 2
    assert read(master) == b""
    os.close(master)


def test_refused_requests_keep_no_descriptors(busy):
    """A refused request's descriptors are nobody's, also not those of the next request."""
    before = descriptors(busy)
    ours, theirs = os.pipe()
    with pytest.raises(ShimError) as error:
        busy.client.call("Exec", exec_request(busy, "other", ["true"], "stdout"), descriptors=[theirs])
    assert error.value.code == NOT_FOUND
    with pytest.raises(ShimError) as error:
        busy.client.call("Exec", exec_request(busy, "c", ["true"], "stdout", "stderr"), descriptors=[theirs])
    assert error.value.code == INVALID_ARGUMENT
    os.close(theirs)
    assert read(ours) == b""
    os.close(ours)
    assert descriptors(busy) == before


def test_caller_goes_away(busy):
    """The command goes on and sees the end of its stdin; with its container it ends."""
    client = busy.connect()
    _, ends = begin_exec(busy, "c", "cat; echo gone > /tmp/seen; sleep 4711", "stdin", "stdout", client=client)
    client.close()
    ends.close()
    wait.until(lambda: busy.execute("c", "cat /tmp/seen").stdout == b"gone\n", "end of its stdin", 60)
    assert alive(busy, "4711")
    busy.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
    busy.wait_exit("c")
    until_gone(busy, "4711")


def test_ends_with_its_container(shim):
    """Where the kernel does not end it: the container is not the first of a PID namespace."""
    shim.start(pid=0)
    shim.client.call("Start", usual(shim, "c", "sleep 4711"))
    stream, ends = begin_exec(shim, "c", "sleep 4712 & echo started; sleep 4712", "stdout")
    assert ends.read(b"\n") == b"started\n"
    shim.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
    assert shim.client.finish(stream).exit_code == 137
    until_gone(shim, "4712")
    ends.close()


# MARK: terminals


def test_terminal(busy):
    stream, master = begin_terminal(
        busy, "c", ["sh", "-c", "tty; stty size; stat -c %t /dev/fd/0 -L; echo err >&2; exit 9"],
        size=pb.TerminalSize(width=132, height=43))
    assert read(master).split() == [b"/dev/pts/0", b"43", b"132", b"88", b"err"]
    assert busy.client.finish(stream).exit_code == 9
    os.close(master)


def test_terminal_is_the_session_s(busy):
    """Typed characters arrive, ^C reaches the command, a new size is told."""
    script = (
        "trap 'stty size' WINCH; trap 'echo int; exit 3' INT; echo ready; "
        "while :; do read line; echo [$line]; done")
    stream, master = begin_terminal(busy, "c", ["sh", "-c", script])
    read(master, b"ready")
    os.write(master, b"typed\n")
    read(master, b"[typed]")
    resize(master, 100, 30)
    os.write(master, b"\n")
    read(master, b"30 100")
    os.write(master, b"\x03")
    read(master, b"int")
    assert busy.client.finish(stream).exit_code == 3
    os.close(master)


def test_terminal_hangs_up(busy):
    client = busy.connect()
    script = "trap 'echo hup > /tmp/hup; exit' HUP; echo ready; while :; do sleep 0.05; done"
    _, master = begin_terminal(busy, "c", ["sh", "-c", script], client=client)
    read(master, b"ready")
    client.close()
    os.close(master)
    wait.until(lambda: busy.execute("c", "cat /tmp/hup").stdout == b"hup\n", "the hang-up", 60)
    until_gone(busy, "trap")


def test_terminal_belongs_to_the_user(busy):
    request = exec_request(busy, "c", ["sh", "-c", "stat -c '%u %g %a' $(tty); echo again > $(tty); cat /dev/tty"])
    request.process.user.uid = 1000
    stream, master = begin_terminal(busy, "c", [], request=request)
    assert read(master, b"again").split() == [b"1000", b"5", b"620", b"again"]
    os.write(master, b"\x04")
    assert busy.client.finish(stream).exit_code == 0
    os.close(master)


def test_nothing_stays(busy):
    """Missing programs with terminals that are resized, and commands that end (ATTACKS D03)."""
    resizable = usual(busy, "t", "sleep 100000")
    resizable.process.tty = True
    busy.client.call("Start", resizable)
    group = busy.new_group("c/exec-many").message()

    def round_of(count: int) -> None:
        for number in range(count):
            request = exec_request_in(busy, group, ["/nonexistent"])
            stream, master = begin_terminal(busy, "c", [], request=request)
            resize(master, number % 200, 50)
            busy.client.call(
                "ResizeTerminal", pb.ResizeTerminalRequest(container_id="t", size=pb.TerminalSize(width=number % 99)))
            with pytest.raises(ShimError):
                busy.client.finish(stream)
            os.close(master)

    rounds = 5000 if os.environ.get("SWIFTLET_ATTACK_ROUNDS") == "full" else 200
    round_of(50)
    before = descriptors(busy), idle_memory(busy)
    round_of(rounds)
    assert descriptors(busy) <= before[0]
    until_idle_memory(busy, before[1] + 64)
    children = pathlib.Path(f"/proc/{busy.process.pid}/task/{busy.process.pid}/children")
    assert len(children.read_text().split()) == 3, "pause and the containers"


def exec_request_in(pod, group, argv):
    return pb.ExecRequest(container_id="c", process=pod.process_message(argv), cgroup=group)
