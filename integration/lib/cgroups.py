"""The groups of containers as the kernel has them, on v1, hybrid and v2."""

from __future__ import annotations

import contextlib
import pathlib

from . import wait
from .census import CGROUPS
from .trees import below

UNIFIED = (CGROUPS / "cgroup.controllers").exists()


def top(controller: str) -> pathlib.Path:
    """Where a controller's groups are mounted."""
    return CGROUPS if UNIFIED else CGROUPS / controller


def group(daemon, id: str, controller: str) -> pathlib.Path:
    """The directory of a container or sandbox below its pods' parent."""
    parent = top(controller) / daemon.base.name
    found = [path for path in below(parent, f"*{id}*") if path.is_dir()]
    assert found, f"no cgroup of {id} below {parent}"
    return min(found, key=lambda path: len(path.parts))


def value(daemon, container, controller: str, old: str, new: str) -> str:
    """What a container's file says: `old` is its name on v1, `new` on v2."""
    return (group(daemon, container.id, controller) / (new if UNIFIED else old)).read_text().strip()


def memory(daemon, container) -> int | str:
    """The memory limit; "max" for none."""
    text = value(daemon, container, "memory", "memory.limit_in_bytes", "memory.max")
    return "max" if text == "max" or int(text) > 1 << 60 else int(text)


def swap(daemon, container) -> int | str | None:
    """How much swap the group may use; None where the kernel does not count it."""
    directory = group(daemon, container.id, "memory")
    if UNIFIED:
        file = directory / "memory.swap.max"
        if not file.exists():
            return None
        text = file.read_text().strip()
        return text if text == "max" else int(text)
    file = directory / "memory.memsw.limit_in_bytes"
    if not file.exists():
        return None
    both, limit = int(file.read_text()), memory(daemon, container)
    return "max" if both > 1 << 60 else both - limit


def make(path: str) -> list[pathlib.Path]:
    """A group of somebody else in every hierarchy, fit for processes; its directories."""
    made = []
    for root in sorted(CGROUPS.iterdir()) if not UNIFIED else [CGROUPS]:
        if root.is_symlink() or not root.is_dir():
            continue
        directory = root
        for part in path.strip("/").split("/"):
            above, directory = directory, directory / part
            if directory.is_dir():
                continue
            directory.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not UNIFIED and (directory / file).exists():
                    (directory / file).write_text((above / file).read_text())
            if UNIFIED:
                enabled = (above / "cgroup.controllers").read_text().split()
                (above / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in enabled))
        made.append(directory)
    return made


def remove(directories: list[pathlib.Path], depth: int = 1) -> None:
    """Removes groups, which must be empty or become so, and `depth` - 1 groups above each."""
    for directory in directories:
        for path in [directory, *directory.parents][:depth]:
            wait.until(lambda path=path: removed(path), f"end of {path}", 60)


def removed(path: pathlib.Path) -> bool:
    """Whether a group could be removed: what has been killed in it, or is taken away by others, may need a moment."""
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()
