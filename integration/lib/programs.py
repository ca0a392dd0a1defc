"""Small static C programs of the attacks, compiled once a session; they run as containers' programs."""

from __future__ import annotations

import functools
import pathlib
import subprocess
import tempfile

SOURCES = pathlib.Path(__file__).resolve().parent.parent / "attacks" / "programs"


@functools.cache
def folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="sw-programs-", dir="/var/tmp")


@functools.cache
def program(name: str) -> pathlib.Path:
    """The path of `programs/NAME.c` as a static program."""
    target = pathlib.Path(folder().name) / name
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Werror", "-o", str(target), str(SOURCES / f"{name}.c")],
                   check=True)
    return target
