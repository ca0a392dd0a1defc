"""Containers with a terminal: what they see of it, their log, and that they live and end as others do."""

import array
import contextlib
import os
import select
import socket

import pytest

from lib import wait
from lib.cri import SLEEPER, security
from lib.stubs import pb
from shim import ttrpc
from test_userns import run_pod

LOOK = (
    "tty; echo $TERM; stat -c '%t:%T %u %g %a' $(tty) /dev/console; echo console > /dev/console; echo tty > /dev/tty; "
    "echo again > $(tty); echo error >&2; grep -c ' /dev/console ' /proc/self/mountinfo; "
    "read line; echo never")


@pytest.mark.parametrize("kind, user, readonly", [
    ("plain", 0, False), ("plain", 1000, True), ("users", 0, True), ("users", 1000, False)])
def test_what_a_container_sees_of_its_terminal(cri, kind, user, readonly):
    pod = cri.run_pod() if kind == "plain" else run_pod(cri)
    linux = security(
        run_as_user=pb.Int64Value(value=user), run_as_group=pb.Int64Value(value=user), readonly_rootfs=readonly)
    container = pod.run(["sh", "-c", LOOK], tty=True, linux=linux)
    records = wait.until(lambda: len(container.log()) >= 9 and container.log(), "the container's lines")
    assert {record.stream for record in records} == {"stdout"}
    assert [record.content.decode() for record in records] == [
        "/dev/pts/0", "xterm", f"88:0 {user} 5 620", f"88:0 {user} 5 620", "console", "tty", "again", "error", "1"]
    with open(container.log_path, "rb") as file:
        assert b"\r" not in file.read()
    assert container.status().state == pb.CONTAINER_RUNNING, "it reads from a terminal that nothing is typed at"
    assert container.execute("tty").stdout == b"not a tty\n", "ExecSync has no terminal"
    container.stop()


def test_the_terminal_s_name_may_be_another(cri):
    pod = cri.run_pod()
    envs = [pb.KeyValue(key="TERM", value=b"vt100")]
    assert pod.output("echo $TERM", tty=True, envs=envs) == "vt100\n"
    assert pod.output("echo ${TERM:-none}") == "none\n"


def test_a_terminal_outlives_the_daemon(make_daemon):
    daemon = make_daemon()
    pod = daemon.client.run_pod()
    script = "trap 'echo bye; exit 5' TERM; echo one; while [ ! -e /tmp/go ]; do usleep 5000; done; echo two; "
    container = pod.run(["sh", "-c", script + "while :; do usleep 5000; done"], tty=True)
    wait.until(lambda: len(container.log()) == 1, "first line")
    daemon.kill()
    daemon.start()
    container.shell("touch /tmp/go")
    wait.until(lambda: len(container.log()) == 2, "second line")
    container.stop(10)
    assert container.wait().exit_code == 5
    assert [record.content for record in container.log()] == [b"one", b"two", b"bye"]


def test_everything_is_logged_when_it_ends_at_once(cri):
    text = cri.run_pod().output("seq 1 30000; exit 0", tty=True)
    assert text == "".join(f"{number}\n" for number in range(1, 30001))


def read_to_end(master: int) -> bytes:
    """All of a terminal's output: what was written last is there a moment after its writer's end."""
    got = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the other end
        while select.select([master], [], [], 60)[0]:
            got += os.read(master, 4096)
    return got


def test_a_command_has_a_terminal_in_a_user_namespace(daemon, cri):
    """By the shim itself, as the daemon asks for it."""
    pod = run_pod(cri)
    container = pod.run(SLEEPER)
    client = ttrpc.Client.connect(daemon.state / "pods" / pod.id / "shim.sock")
    request = ttrpc.pb.ExecRequest(
        container_id=container.id, size=ttrpc.pb.TerminalSize(width=90, height=20), process=ttrpc.pb.Process(
            argv=[b"sh", b"-c", b"tty; stty size; stat -c '%u %g %a' $(tty); echo x > /dev/tty; id -u"], cwd="/",
            env=[b"PATH=/bin"], user=ttrpc.pb.User(uid=7, gid=7), no_new_privs=True, tty=True,
            capabilities=ttrpc.pb.Capabilities()))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        stream = client.begin("Exec", request, descriptors=[theirs.fileno()])
        theirs.close()
        ours.settimeout(60)
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    assert client.finish(stream).exit_code == 0
    assert read_to_end(master).split() == [b"/dev/pts/0", b"20", b"90", b"7", b"5", b"620", b"x", b"7"]
    os.close(master)
    client.close()
