"""Looking at cgroup v2 from the node: files of groups, device programs, writes to a file, moves of processes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import select
import struct
from collections.abc import Iterator

ROOT = pathlib.Path("/sys/fs/cgroup")
TRACING = pathlib.Path("/sys/kernel/tracing")
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_BPF, BPF_PROG_GET_NEXT_ID, BPF_PROG_QUERY, BPF_CGROUP_DEVICE = 321, 11, 16, 6
IN_MODIFY = 2


def group(container) -> pathlib.Path:
    """A container's or pod's directory, where its configuration says."""
    config = container.pod.config if hasattr(container, "pod") else container.config
    return ROOT / config.linux.cgroup_parent.lstrip("/") / container.id


def read(directory: pathlib.Path, *names: str) -> dict[str, str]:
    return {name: (directory / name).read_text().strip() for name in names}


def counts(directory: pathlib.Path, file: str) -> dict[str, int]:
    """A file of lines with a key and a number."""
    return {key: int(value) for key, value in map(str.split, (directory / file).read_text().splitlines())}


def of(pid: int | str) -> str:
    """The group of a process, as the node sees it."""
    return pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def device_programs(directory: pathlib.Path) -> list[int]:
    """The ids of the programs attached to a group for devices."""
    ids = (ctypes.c_uint32 * 64)()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        attributes = ctypes.create_string_buffer(
            struct.pack("=IIIIQI", fd, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids), len(ids)), 128)
        if LIBC.syscall(SYS_BPF, BPF_PROG_QUERY, attributes, len(attributes)) < 0:
            raise OSError(ctypes.get_errno(), "bpf")
        return list(ids[:struct.unpack_from("=I", attributes, 24)[0]])
    finally:
        os.close(fd)


def programs() -> set[int]:
    """The ids of all programs that the kernel holds, whoever uses them."""
    found, last = set(), 0
    while True:
        attributes = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0), 128)
        if LIBC.syscall(SYS_BPF, BPF_PROG_GET_NEXT_ID, attributes, len(attributes)) < 0:
            assert ctypes.get_errno() == errno.ENOENT, os.strerror(ctypes.get_errno())
            return found
        last = struct.unpack_from("=I", attributes, 4)[0]
        found.add(last)


@contextlib.contextmanager
def writes_to(path: pathlib.Path) -> Iterator[callable]:
    """Gives a function that says whether somebody has written to a file meanwhile, waiting up to some seconds."""
    fd = LIBC.inotify_init1(os.O_CLOEXEC)
    try:
        assert LIBC.inotify_add_watch(fd, str(path).encode(), IN_MODIFY) >= 0, os.strerror(ctypes.get_errno())
        yield lambda deadline=60: bool(select.select([fd], [], [], deadline)[0])
    finally:
        os.close(fd)


@contextlib.contextmanager
def moves() -> Iterator[callable]:
    """Gives a function that lists the moves of processes from group to group meanwhile, as the kernel traces them."""
    event, trace = TRACING / "events/cgroup/cgroup_attach_task/enable", TRACING / "trace"
    trace.write_text("")
    event.write_text("1")
    try:
        yield lambda: [line for line in trace.read_text().splitlines() if "cgroup_attach_task:" in line]
    finally:
        event.write_text("0")
