"""Fixtures of the shim's tests: the real binary from SWIFTLET_BIN_DIR, without a daemon."""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # ttrpc, pod and child; lib

from pod import Pod  # noqa: E402


@pytest.fixture
def shim():
    """A shim without a sandbox."""
    assert os.geteuid() == 0, "the shim's tests need root"
    pod = Pod()
    yield pod
    pod.close()


@pytest.fixture
def pod(shim):
    """A pod whose containers have PID namespaces of their own."""
    return shim.start()
