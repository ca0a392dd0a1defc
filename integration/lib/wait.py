"""Bounded waiting for what announces itself to nobody: a condition is asked often, never slept for.

A deadline is a loaded machine's: what must be done within a time is measured by the case that says so. Each is
SWIFTLET_PATIENCE times as long, too: an emulated machine is slower than any real one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
PATIENCE = float(os.environ.get("SWIFTLET_PATIENCE", 1))


def until(condition: Callable[[], Value], what: str, deadline: float = 60, pause: float = 0.01) -> Value:
    """The first truthy value of `condition`; AssertionError naming `what` when there is none in time."""
    deadline *= PATIENCE
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what} (last: {value!r})")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
