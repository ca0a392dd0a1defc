"""Programs of attacks/programs that are mounted into containers, or lie in images as bytes."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import pathlib
import subprocess
import tempfile

from . import debian
from .stubs import pb

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "attacks" / "programs"
MADE = debian.CACHE.parent / "programs"
ALONE = ["-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie"]


@functools.cache
def compiled(source: str, *options: str) -> bytes:
    """The binary of a file in attacks/programs; in an emulated machine, which has no compiler, one made beforehand."""
    made = MADE / name(source, *options)
    if made.exists():
        return made.read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        target = pathlib.Path(directory, "program")
        strict = ["-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *strict, *options, "-o", target, SOURCES / source], check=True)
        return target.read_bytes()


def name(source: str, *options: str) -> str:
    """What a binary is called that was made beforehand."""
    state = hashlib.sha256((SOURCES / source).read_bytes() + "\0".join(options).encode()).hexdigest()
    return f"{source.removesuffix('.c')}-{state[:12]}"


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
    return mount(place, "i386.c", *ALONE, kind)


def planted_library(canary: str) -> bytes:
    """L31: a library that writes into `canary` as soon as somebody loads it."""
    return compiled("planted.c", "-shared", "-fPIC", f'-DCANARY="{canary}"')
