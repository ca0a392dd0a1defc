"""Attach: clients of a container's streams, and a container's terminal (CRI.md 2.5, 4, 5.7)."""

import os
import pathlib

import pytest

from lib import wait
from child import output, usual
from streams import begin_attach, descriptors, idle_memory, until_idle_memory
from ttrpc import ShimError, pb

FAILED_PRECONDITION, INVALID_ARGUMENT = 9, 3
TTY = pb.Device(path="/dev/tty", type="c", major=5, minor=0, mode=0o666)


def start(pod, name, script, tty=False, **fields):
    request = usual(pod, name, script, **fields)
    request.process.tty = tty
    pod.client.call("Start", request)


def stop(pod, name):
    pod.client.call("Kill", pb.KillRequest(container_id=name, signal=9))
    return pod.wait_exit(name).exit_code


def test_output_goes_to_all(pod):
    start(pod, "c", "read go; echo out; read go; echo err >&2; read go; echo end; exit 3", stdin=True)
    first, one = begin_attach(pod, "c", "stdin", "stdout", "stderr")
    second, two = begin_attach(pod, "c", "stdout")
    one.write(b"go\n")
    assert (one.read(b"\n"), two.read(b"\n")) == (b"out\n", b"out\n")
    one.write(b"go\n")  # the log has the order in which the two pipes are read
    assert one.read(b"\n", "stderr") == b"err\n"
    third, late = begin_attach(pod, "c", "stdin", "stdout")
    late.write(b"go\n")
    assert (one.read(), two.read(), late.read()) == (b"end\n",) * 3, "no history for who comes late"
    for stream in (first, second, third):
        assert not pod.client.finish(stream).too_slow
    assert pod.wait_exit("c").exit_code == 3
    assert [record for record in pod.log("c")] == [
        ("stdout", "F", "out"), ("stderr", "F", "err"), ("stdout", "F", "end")]
    for ends in (one, two, late):
        ends.close()


def test_slow_client_is_left_behind(pod):
    """The log is whole, another client gets everything, and the slow one learns why it is gone."""
    piece, pieces = 256 << 10, 12
    start(pod, "c", f"while read go; do head -c {piece} /dev/zero | tr '\\0' x; echo; done", stdin=True)
    slow, behind = begin_attach(pod, "c", "stdout")
    quick, beside = begin_attach(pod, "c", "stdin", "stdout", capacity=4 * piece)
    for _ in range(pieces):  # each waits for the one before, or a busy machine might leave this client behind as well
        beside.write(b"go\n")
        assert beside.read(b"\n") == b"x" * piece + b"\n"
    assert pod.client.finish(slow).too_slow
    assert 0 < len(behind.read()) <= 64 << 10
    beside.close("stdin")
    assert not pod.client.finish(quick).too_slow
    assert stop(pod, "c") == 137
    assert sum(len(content) for _, _, content in pod.log("c")) == pieces * piece
    behind.close()
    beside.close()


def test_clients_that_disappear(pod):
    start(pod, "c", "read go; echo still", stdin=True)
    client = pod.connect()
    _, gone = begin_attach(pod, "c", "stdin", "stdout", client=client)
    client.close()
    gone.close()
    quiet, ends = begin_attach(pod, "c", "stdout")
    ends.close()
    assert not pod.client.finish(quiet).too_slow, "told without any output"
    stream, ends = begin_attach(pod, "c", "stdin", "stdout")
    ends.write(b"go\n")
    assert ends.read() == b"still\n"
    pod.client.finish(stream)
    ends.close()


def test_stdin_stays_open_between_clients(pod):
    start(pod, "c", "cat; echo end", stdin=True)
    for word in (b"one\n", b"two\n"):
        stream, ends = begin_attach(pod, "c", "stdin", "stdout")
        ends.write(word)
        assert ends.read(b"\n") == word
        ends.close("stdin")
        pod.client.finish(stream)
        assert ends.read() == b"", "disconnected"
        ends.close()
    assert stop(pod, "c") == 137


def test_stdin_once(pod):
    start(pod, "c", "cat; echo end", stdin=True, stdin_once=True)
    other, beside = begin_attach(pod, "c", "stdin", "stdout")
    stream, ends = begin_attach(pod, "c", "stdin", "stdout", number=7)
    ends.write(b"one\n")
    assert ends.read(b"\n") == b"one\n"
    end_attach(pod, 7)
    ends.close("stdin")
    assert ends.read() == b"end\n", "it goes on with its output"
    assert beside.read() == b"one\nend\n"
    pod.client.finish(stream)
    pod.client.finish(other)
    assert pod.wait_exit("c").exit_code == 0
    ends.close()
    beside.close()


def end_attach(pod, number, gone=False):
    pod.client.call("EndAttach", pb.EndAttachRequest(container_id="c", client=number, gone=gone))


def test_stdin_once_outlives_its_caller(pod):
    """A daemon that is replaced closes its pipes: that is not its client's end."""
    start(pod, "c", "cat; echo end", stdin=True, stdin_once=True)
    daemon = pod.connect()
    stream, ends = begin_attach(pod, "c", "stdin", "stdout", client=daemon, number=1)
    end_attach(pod, 1)  # of another connection: nobody's
    ends.close("stdin")
    daemon.finish(stream)
    assert ends.read() == b"", "disconnected"
    ends.close()
    daemon.close()
    stream, ends = begin_attach(pod, "c", "stdin", "stdout", number=1)
    ends.write(b"again\n")
    assert ends.read(b"\n") == b"again\n"
    end_attach(pod, 1)
    ends.close("stdin")
    assert ends.read() == b"end\n"
    pod.client.finish(stream)
    ends.close()


@pytest.mark.parametrize("once", [False, True])
def test_clients_that_leave_an_input_that_nobody_reads(pod, once):
    """None of them is kept waiting for room, and none keeps its place: more come than may be there at a time."""
    start(pod, "c", "read go; exec sleep 1000", stdin=True, stdin_once=once)
    first, ends = begin_attach(pod, "c", "stdin")
    os.set_blocking(ends.ours["stdin"], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(ends.ours["stdin"], b"\n" * 65536)
    before = descriptors(pod)
    for number in range(1, 100):
        stream, beside = begin_attach(pod, "c", "stdin", number=number)
        beside.write(b"x" * 32768)
        end_attach(pod, number, gone=True)
        assert not pod.client.finish(stream).too_slow
        beside.close()
        if once:
            break
    assert descriptors(pod) == before - (1 if once else 0), "the first waits, unless the container's stdin has ended"
    ends.close()
    assert stop(pod, "c") == 137
    pod.client.finish(first)


def test_input_waits_for_the_container(pod):
    """Megabytes typed at a container that does not read yet; nothing is lost, nothing is held for it."""
    start(pod, "c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; wc -c", stdin=True, stdin_once=True)
    stream, ends = begin_attach(pod, "c", "stdin", "stdout", number=1)
    os.set_blocking(ends.ours["stdin"], False)
    block, typed = b"x" * 65536, 0
    try:
        while True:
            typed += os.write(ends.ours["stdin"], block)
    except BlockingIOError:
        pass
    assert 65536 <= typed < 512 << 10, "two pipes and a piece"
    pod.execute("c", "touch /tmp/go")
    os.set_blocking(ends.ours["stdin"], True)
    for _ in range(32):
        typed += os.write(ends.ours["stdin"], block)
    end_attach(pod, 1)
    ends.close("stdin")
    assert int(ends.read()) == typed
    pod.client.finish(stream)
    ends.close()


def test_input_of_a_container_without_stdin(pod):
    start(pod, "c", "cat; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo end")
    stream, ends = begin_attach(pod, "c", "stdin", "stdout")
    for _ in range(64):
        ends.write(b"x" * 65536)
    pod.execute("c", "touch /tmp/go")
    assert ends.read() == b"end\n"
    pod.client.finish(stream)
    ends.close()


def test_refused(pod):
    start(pod, "c", "sleep 1000")
    with pytest.raises(ShimError) as error:
        pod.client.call("Attach", pb.AttachRequest(container_id="c", stdout=True))
    assert error.value.code == INVALID_ARGUMENT
    with open("/dev/null", "wb") as null, pytest.raises(ShimError) as error:
        pod.client.call("Attach", pb.AttachRequest(container_id="c", stdout=True), descriptors=[null.fileno()])
    assert error.value.code == INVALID_ARGUMENT and "pipe" in error.value.message
    with pytest.raises(ShimError) as error:
        pod.client.call("ResizeTerminal", pb.ResizeTerminalRequest(container_id="c"))
    assert error.value.code == FAILED_PRECONDITION


def test_nothing_stays(pod):
    """Clients that come and vanish (ATTACKS D03)."""
    start(pod, "c", "while :; do [ -e /tmp/quiet ] || echo x; sleep 0.01; done", stdin=True)
    quiet = pathlib.Path(f"/proc/{pod.client.call('State').tasks[0].pid}/root/tmp/quiet")
    rounds = 5000 if os.environ.get("SWIFTLET_ATTACK_ROUNDS") == "full" else 200

    def round_of(count: int) -> None:
        for number in range(count):
            client = pod.connect() if number % 2 else pod.client
            _, ends = begin_attach(pod, "c", "stdin", "stdout", "stderr", client=client)
            ends.close()
            if number % 2:
                client.close()

    none = settled(pod)
    round_of(50)
    wait.until(lambda: settled(pod) == none, "as many descriptors as before", 60)
    quiet.touch()  # a shim that always has something to do gives no memory back
    before = idle_memory(pod)
    quiet.unlink()
    round_of(rounds)
    wait.until(lambda: settled(pod) == none, "as many descriptors as before", 60)
    quiet.touch()
    until_idle_memory(pod, before + 64)


def settled(pod) -> int:
    """Descriptors once all clients' ends are told of: each State goes round the shim's loop once."""
    for _ in range(20):
        pod.client.call("State")
    return descriptors(pod)


# MARK: terminals


def test_terminal_of_a_container(pod):
    script = (
        "tty; stat -c %t:%T /dev/console $(readlink /proc/self/fd/0); stat -c %t:%T -L /dev/fd/2; "
        "echo c > /dev/console; echo t > /dev/tty; printf 'a\\nb\\n'; echo err >&2; printf last")
    request = tty(usual(pod, "c", script))
    request.devices.append(TTY)
    pod.client.call("Start", request)
    pod.wait_exit("c")
    records = pod.log("c")
    assert {stream for stream, _, _ in records} == {"stdout"}
    assert [content for _, _, content in records] == [
        "/dev/pts/0", "88:0", "88:0", "88:0", "c", "t", "a", "b", "err", "last"]
    assert b"\r" not in pod.log_path("c").read_bytes()
    pod.client.call("State")  # by then it is through with what it has told
    assert not descriptors_of_terminals(pod)


def descriptors_of_terminals(pod) -> list[str]:
    folder = f"/proc/{pod.process.pid}/fd"
    return [name for name in os.listdir(folder) if "ptmx" in os.readlink(f"{folder}/{name}")]


def test_everything_a_terminal_got_is_logged(pod):
    """Also what its last process wrote just before the end, which hangs it up."""
    for number in range(10):
        name = f"c{number}"
        assert output(pod, tty(usual(pod, name, "seq 1 2000"))) == "\n".join(map(str, range(1, 2001)))


def tty(request):
    request.process.tty = True
    return request


def test_terminal_of_an_ordinary_user_with_a_readonly_root(pod):
    request = tty(usual(
        pod, "c", "stat -c '%u %g %a' $(tty) /dev/console; echo a > $(tty); echo b > /dev/console; touch /x; id -u"))
    request.rootfs.readonly = True
    request.process.user.uid = 1000
    pod.client.call("Start", request)
    pod.wait_exit("c")
    assert [content for _, _, content in pod.log("c")] == [
        "1000 5 620", "1000 5 620", "a", "b", "touch: /x: Read-only file system", "1000"]


def test_attach_to_a_terminal(pod):
    script = "trap 'stty size' WINCH; echo ready; while [ \"$line\" != end ]; do read line; echo [$line]; done; exit 4"
    start(pod, "c", script, tty=True, stdin=True, stdin_once=True)
    pod.wait_log("c", "ready")
    stream, ends = begin_attach(pod, "c", "stdin", "stdout")
    size = pb.TerminalSize(width=99, height=21)
    pod.client.call("ResizeTerminal", pb.ResizeTerminalRequest(container_id="c", size=size))
    ends.write(b"typed\n")
    assert b"21 99" in ends.read(b"[typed]")
    ends.close("stdin")
    pod.client.finish(stream)
    ends.close()
    stream, ends = begin_attach(pod, "c", "stdin", "stdout")
    ends.write(b"more\n")
    ends.read(b"[more]")
    ends.write(b"end\n")
    pod.client.finish(stream)
    assert pod.wait_exit("c").exit_code == 4
    ends.close()


def test_nothing_is_typed_at_a_terminal_without_stdin(pod):
    start(pod, "c", "read line; echo [$line]", tty=True)
    stream, ends = begin_attach(pod, "c", "stdin", "stdout")
    ends.write(b"typed\n")
    pod.client.call("State")
    assert pod.client.call("State").tasks
    assert stop(pod, "c") == 137
    assert (ends.read(), pod.log("c")) == (b"", [])
    pod.client.finish(stream)
    ends.close()


def test_terminal_ends_with_a_failed_start(pod):
    before = descriptors(pod)
    for number in range(3):
        request = tty(usual(pod, f"c{number}", ""))
        request.process.argv[:] = [b"/nonexistent"]
        with pytest.raises(ShimError) as error:
            pod.client.call("Start", request)
        assert error.value.failure.errno == 2
    assert descriptors(pod) == before
