"""What the tests of a container's process need: hostile layers, the usual mounts, and what a start said."""

from __future__ import annotations

import os
import pathlib
import struct
import uuid

import pytest

from pod import ROOT, Pod
from ttrpc import ShimError, pb

MASKED = [
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
USUAL = [
    pb.Mount(
        destination="/dev/pts",
        type="devpts",
        nosuid=True,
        noexec=True,
        data=["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    pb.Mount(destination="/dev/shm", type="shm", nosuid=True, nodev=True, noexec=True),
    pb.Mount(destination="/dev/mqueue", type="mqueue", nosuid=True, nodev=True, noexec=True),
    pb.Mount(destination="/sys", type="sysfs", nosuid=True, nodev=True, noexec=True, readonly=True),
]


def usual(pod: Pod, name: str, script: str, **fields):
    """A request with the mounts, masks and read-only paths that a kubelet's container has."""
    request = pod.container_request(name, ["sh", "-c", script], mounts=USUAL)
    request.masked_paths.extend(MASKED)
    request.readonly_paths.extend(READONLY)
    request.MergeFrom(pb.StartRequest(**fields))
    return request


def output(pod: Pod, request) -> str:
    """What a container wrote to standard output until it ended."""
    pod.client.call("Start", request)
    pod.wait_exit(request.container_id)
    return "\n".join(content for stream, _, content in pod.log(request.container_id) if stream == "stdout")


def refused(pod: Pod, request):
    """The step failure with which a start is refused; no process of it is left."""
    with pytest.raises(ShimError) as caught:
        pod.client.call("Start", request)
    assert caught.value.failure is not None, caught.value
    groups = [group for group in pod.groups if group.path.endswith(f"/{request.container_id}")]
    assert all(not group.processes() for group in groups)
    return caught.value.failure


def hostile(pod: Pod, request) -> pathlib.Path:
    """A layer of the attacker's on top of the container's image."""
    layer = pod.directory / f"hostile-{uuid.uuid4().hex[:8]}"
    layer.mkdir()
    request.rootfs.lower.insert(0, str(layer))
    return layer


def upper(request) -> pathlib.Path:
    return pathlib.Path(request.rootfs.upper)


@pytest.fixture
def canary():
    """A directory of the node's that must stay as it is."""
    place = ROOT / f"canary-{uuid.uuid4().hex[:8]}"
    (place / "rw").mkdir(parents=True)
    (place / "secret").write_text("untouched")
    before = snapshot(place)
    yield place
    assert snapshot(place) == before
    (place / "secret").unlink()
    (place / "rw").rmdir()
    place.rmdir()


def snapshot(place: pathlib.Path) -> list:
    found = []
    for folder, directories, files in os.walk(place):
        for name in sorted([".", *directories, *files]):
            path = pathlib.Path(folder, name)
            status = path.lstat()
            found.append((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size))
    return sorted(found)


def node_mounts() -> dict[str, str]:
    """Each mount's line by its number, parent, device, root and place: a number alone may soon be another mount's."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return {" ".join(line.split()[:5]): line for line in lines}


@pytest.fixture(autouse=True)
def same_node_mounts():
    """No container's mount shows on the node, and none of the node's changes its propagation.

    Others may mount and unmount things of theirs meanwhile."""
    before = node_mounts()
    yield
    after = node_mounts()
    assert [line for mount, line in after.items() if before.get(mount, line) != line] == []
    assert [line for mount, line in after.items() if mount not in before and str(ROOT) in line] == []


# The shell itself opens a directory to expand a pattern, so the numbers are tried one by one.
DESCRIPTORS = "n=0; while [ $n -lt 300 ]; do if [ -L /proc/$$/fd/$n ]; then echo $n; fi; n=$((n+1)); done"


def status_of(text: str) -> dict[str, str]:
    """/proc/PID/status as a table."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if value}


def deny(number: int, error: int) -> bytes:
    """A seccomp program: one system call answers an errno, all others are allowed. x86_64 and others alike."""
    load, jump, give = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 0), (jump, 0, 1, number), (give, 0, 0, 0x00050000 | error), (give, 0, 0, 0x7FFF0000)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
