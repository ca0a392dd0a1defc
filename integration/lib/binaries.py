"""Programs of attacks/programs that are mounted into containers, or lie in images as bytes."""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import subprocess
import tempfile

from .stubs import pb

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "attacks" / "programs"


@functools.cache
def compiled(source: str, *options: str) -> bytes:
    """The binary of a file in attacks/programs."""
    with tempfile.TemporaryDirectory() as directory:
        target = pathlib.Path(directory, "program")
        strict = ["-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *strict, *options, "-o", target, SOURCES / source], check=True)
        return target.read_bytes()


@functools.cache
def folder() -> pathlib.Path:
    """Where binaries lie on the node until the tests end."""
    directory = tempfile.TemporaryDirectory(prefix="attack-programs-", dir="/var/tmp")
    atexit.register(directory.cleanup)
    os.chmod(directory.name, 0o755)
    return pathlib.Path(directory.name)


def mount(place: str, source: str, *options: str):
    """A compiled program at a place in a container, as a read-only mount: no image has to be loaded for it."""
    path = folder() / f"{source}{''.join(options)}"
    if not path.exists():
        path.write_bytes(compiled(source, *options))
        path.chmod(0o755)
    return pb.Mount(container_path=place, host_path=str(path), readonly=True)


def prober() -> bytes:
    """H5: prints what a process is and may do, as JSON. Its arguments are paths to read from."""
    return compiled("prober.c", "-static")


def other_abi(place: str, kind: str):
    """L28: calls of another ABI; `kind` is -m32, -mx32, or -DINT80 for a 64-bit program at the 32-bit entry."""
    alone = ["-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"]
    return mount(place, "i386.c", *alone, kind)


def planted_library(canary: str) -> bytes:
    """L31: a library that writes into `canary` as soon as somebody loads it."""
    return compiled("planted.c", "-shared", "-fPIC", f'-DCANARY="{canary}"')
