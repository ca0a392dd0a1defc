"""ReopenContainerLog, as kubelet rotates: rename, then reopen."""

import fcntl
import os
import struct
import subprocess
import termios

import grpc
import pytest

from lib import logs, pods, trace, wait
from lib.cri import SLEEPER
from lib.stubs import pb

COUNTER = ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); done"]


def reopen(container) -> None:
    container.client.call("ReopenContainerLog", container_id=container.id)


def test_a_new_file_takes_over_and_no_line_is_lost(pod):
    """Under a writer that never pauses: every line once, in order, whole; and an old file does not grow any more."""
    container = pod.run(COUNTER)
    wait.until(lambda: os.path.getsize(container.log_path) > 0, "the first line")
    old = []
    for number in range(30):
        target = f"{container.log_path}.{number}"
        os.rename(container.log_path, target)
        reopen(container)
        assert os.path.exists(container.log_path)
        old.append((target, os.path.getsize(target)))
        wait.until(lambda: os.path.getsize(container.log_path) > 0, "a line in the new file")
    container.stop()
    assert [(target, os.path.getsize(target)) for target, _ in old] == old
    records = [record for target, _ in old for record in logs.read(target)] + container.log()
    assert all(record.full for record in records[:-1])
    numbers = [int(record.content) for record in records if record.full]
    assert numbers == list(range(len(numbers)))


def test_only_a_running_container_has_a_log_to_reopen(cri, pod):
    assert cri.refused("ReopenContainerLog", container_id="0" * 64).code == grpc.StatusCode.NOT_FOUND
    assert cri.refused("ReopenContainerLog").code == grpc.StatusCode.INVALID_ARGUMENT
    container = pod.create(SLEEPER)

    def refused() -> None:
        answer = cri.refused("ReopenContainerLog", container_id=container.id)
        assert answer.code == grpc.StatusCode.FAILED_PRECONDITION and container.id[:12] in answer.text

    refused()
    container.start().stop()
    os.rename(container.log_path, container.log_path + ".old")
    refused()
    assert not os.path.exists(container.log_path)


def test_a_log_that_was_removed_with_its_directory_comes_back(pod):
    container = pod.run(["sh", "-c", "while :; do echo line; usleep 10000; done"])
    os.remove(container.log_path)
    os.rmdir(os.path.dirname(container.log_path))
    reopen(container)
    wait.until(lambda: os.path.getsize(container.log_path) > 0, "a line")
    assert os.stat(container.log_path).st_mode & 0o777 == 0o640


def test_without_a_log_there_is_nothing_to_do(pod):
    reopen(pod.run(SLEEPER, log_path=""))


def unread(container) -> int:
    """Bytes that wait in the pipe of the program's output (pipe(7): FIONREAD)."""
    pipe = os.open(f"/proc/{container.info()['pid']}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    finally:
        os.close(pipe)


def test_a_full_disk_costs_lines_and_says_how_many(cri, tmp_path):
    """The container goes on; once there is room a line tells of the gap, and every line is whole."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=True)
    try:
        pod = cri.run_pod(log_directory=str(small))
        volume = tmp_path / "volume"
        volume.mkdir()
        container = pod.run(
            ["sh", "-c", "seq 1 20000; touch /volume/written; "
             "while [ ! -e /volume/go ]; do usleep 10000; done; echo after"],
            mounts=[pb.Mount(container_path="/volume", host_path=str(volume))])
        wait.until(lambda: (volume / "written").exists(), "the writer to get past the full disk")
        shim = trace.shim_of(pod)
        wait.until(lambda: unread(container) == 0 and pods.stat(shim)[0] == "S", "the shim to have read it all")
        full = f"{container.log_path}.0"
        os.rename(container.log_path, full)
        first = logs.read(full)
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        reopen(container)
        (volume / "go").touch()
        assert container.wait().exit_code == 0
        gap, after = [record for record in container.log() if not record.content.isdigit()]
        assert after.content == b"after"
        assert gap.stream == "stderr" and gap.content.startswith(b"swiftlet: ") and b"lost: ENOSPC" in gap.content
        written = [int(record.content) for record in first]
        assert written == list(range(1, len(written) + 1)) and len(written) < 20000
        lost = int(gap.content.split()[1])
        assert lost > 0 and container.info()["logLostBytes"] == lost
        container.remove()
        pod.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=True)
