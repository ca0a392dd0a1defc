"""Containers that make something else of what a terminal is made of (ATTACKS L07), or reach for one that is not theirs
(L33)."""

from __future__ import annotations

import os

import pytest

from child import canary, usual  # noqa: F401
from pod import Pod
from streams import begin_exec, begin_terminal, descriptors, read
from ttrpc import ShimError, pb

SYS_ADMIN = 1 << 21
TTY = pb.Device(path="/dev/tty", type="c", major=5, minor=0, mode=0o666)
ELOOP, ENODEV, EXDEV = 40, 19, 18


def administrator(pod, script: str):
    """Starts a container that may mount what it likes; it has done so once it says `ready`."""
    request = usual(pod, "c", script, devices=[TTY])
    for name in ("bounding", "effective", "permitted"):
        setattr(request.process.capabilities, name, getattr(request.process.capabilities, name) | SYS_ADMIN)
    pod.client.call("Start", request)
    pod.wait_log("c", "ready")


@pytest.mark.parametrize("script, errno, subject", [
    ("mount -t tmpfs tmpfs /dev/pts; mkfifo /dev/pts/ptmx", ENODEV, "/dev/pts"),
    ("mount -t tmpfs tmpfs /dev/pts; mknod /dev/pts/ptmx c 5 2", ENODEV, "/dev/pts"),
    ("mkfifo /tmp/f; mount --bind /tmp/f /dev/pts/ptmx", EXDEV, "/dev/pts/ptmx"),
    ("mount --bind /dev/zero /dev/pts/ptmx", EXDEV, "/dev/pts/ptmx"),
    ("umount /dev/pts; rmdir /dev/pts; mkdir /dev/real; mount -t devpts devpts /dev/real; ln -s real /dev/pts", ELOOP,
     "/dev/pts"),
])
def test_L07_a_replaced_devpts_gives_no_terminal(pod, script, errno, subject):
    administrator(pod, f"{script}; rm -f /dev/ptmx; ln -s /dev/zero /dev/ptmx; echo ready; sleep 100000")
    before = descriptors(pod)
    stream, master = begin_terminal(pod, "c", ["true"])
    assert master is None
    with pytest.raises(ShimError) as error:
        pod.client.finish(stream)
    failure = error.value.failure
    assert (failure.step, failure.errno, failure.subject) == ("open terminal", errno, subject)
    stream, ends = begin_exec(pod, "c", "echo without", "stdout")
    assert ends.read() == b"without\n"
    pod.client.finish(stream)
    ends.close()
    assert descriptors(pod) == before


def test_L07_ptmx_beside_devpts_is_not_used(pod):
    administrator(pod, "rm -f /dev/ptmx; mkfifo /dev/ptmx; echo ready; sleep 100000")
    stream, master = begin_terminal(pod, "c", ["tty"])
    assert read(master) == b"/dev/pts/0\r\n"
    assert pod.client.finish(stream).exit_code == 0
    os.close(master)


def test_L07_covered_names_of_terminals_are_not_used(pod):
    """The container covers the name of every terminal as soon as it is there."""
    administrator(
        pod, "echo fake > /tmp/fake; echo ready; "
        "while :; do for n in /dev/pts/[0-9]*; do mount --bind /tmp/fake $n; done; done 2>/dev/null")
    for _ in range(20):
        stream, master = begin_terminal(pod, "c", ["stat", "-L", "-c", "%t %F", "/proc/self/fd/0"])
        assert read(master) == b"88 character special file\r\n"
        assert pod.client.finish(stream).exit_code == 0
        os.close(master)


def test_L07_a_link_at_the_console_of_a_volume(pod, canary):
    """A volume on /dev, which a neighbour may have filled: nothing is mounted through a link, nothing is made."""
    for place, errno in (("link", ELOOP), ("absent", None)):
        volume = pod.directory / place
        (volume / "pts").mkdir(parents=True)
        (volume / "aside").write_text("aside\n")
        if place == "link":
            os.symlink("aside", volume / "console")
        request = pod.container_request(place, ["cat", "/dev/aside"])
        del request.mounts[1:]
        request.mounts.add(destination="/dev", type="bind", source=str(volume))
        request.mounts.add(destination="/dev/pts", type="devpts", data=["newinstance", "ptmxmode=0666"])
        request.process.tty = True
        if errno:
            with pytest.raises(ShimError) as error:
                pod.client.call("Start", request)
            assert (error.value.failure.step, error.value.failure.errno) == ("mount console", errno)
        else:
            pod.client.call("Start", request)
            pod.wait_exit(place)
            assert pod.log(place) == [("stdout", "F", "aside")]
            assert not (volume / "console").exists()


def test_L33_no_terminal_of_the_shim_is_inherited():
    """The shim was started with a terminal; no process of the pod has it, nor can type at it (TIOCSTI)."""
    master, peer = os.openpty()
    pod = Pod(terminal=peer)
    try:
        pod.start()
        script = "tty; (echo typed > /dev/tty) 2>&1"
        pod.client.call("Start", usual(pod, "c", f"{script}; echo ready; sleep 100000", devices=[TTY]))
        pod.wait_log("c", "ready")
        assert [record[2] for record in pod.log("c")[:2]] == [
            "not a tty", "sh: can't create /dev/tty: No such device or address"]
        answer = pod.execute("c", script)
        assert answer.stdout.splitlines()[:2] == [
            b"not a tty", b"sh: can't create /dev/tty: No such device or address"]
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
        stat = open(f"/proc/{pod.process.pid}/stat").read().rsplit(")")[1].split()
        assert int(stat[4]) != 0, "the shim has the terminal, or this test shows nothing"
        for pid in pod.group.processes():
            if pid != pod.process.pid:
                assert open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[4] == "0"
    finally:
        pod.close()
        os.close(peer)
        os.close(master)
