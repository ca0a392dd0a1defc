"""D15: the log is opened by root in a directory that a container may have as a volume: nothing planted is followed."""

import os
import pathlib
import shutil

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER

TICKER = ["sh", "-c", "while :; do echo tick; usleep 5000; done"]
REFUSED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)


def plant(how: str, place: pathlib.Path, canary) -> None:
    """Puts something else where the log or one of its directories should be."""
    target = canary.path / "rw" / "file"
    if how == "link":
        place.symlink_to(target)
    elif how == "dangling link":
        place.symlink_to(canary.path / "rw" / "new")
    elif how == "pipe":
        os.mkfifo(place)
    elif how == "hard link":
        os.link(target, place)
    elif how == "directory":
        place.mkdir()
    else:
        shutil.rmtree(place.parent)
        place.parent.symlink_to(canary.path / "rw")


KINDS = ["link", "dangling link", "pipe", "directory", "link as directory"]


@pytest.mark.parametrize("how", KINDS)
def test_what_is_planted_before_the_start(pod, canary, how):
    container = pod.create(SLEEPER)
    place = pathlib.Path(container.log_path)
    place.parent.mkdir(parents=True)
    plant(how, place, canary)
    refused = container.start_refused()
    assert refused.code in REFUSED and container.log_path in refused.text
    assert container.status().reason == "StartError"


@pytest.mark.parametrize("how", KINDS)
def test_what_is_planted_before_a_rotation(pod, canary, how):
    """The container goes on, and so does its old log."""
    container = pod.run(TICKER)
    place = pathlib.Path(container.log_path)
    old = place.parent.parent / "old.log"
    wait.until(lambda: place.stat().st_size > 0, "a line")
    os.rename(place, old)
    plant(how, place, canary)
    refused = pod.client.refused("ReopenContainerLog", container_id=container.id)
    assert refused.code in REFUSED and container.log_path in refused.text
    size = old.stat().st_size
    wait.until(lambda: old.stat().st_size > size, "further lines in the old file")
    assert container.shell("echo alive") == "alive\n"


def test_a_second_name_for_a_file_of_the_nodes(pod, tmp_path):
    """Not the canary's file: a further name of it is a change."""
    container = pod.create(SLEEPER)
    secret, place = tmp_path / "secret", pathlib.Path(container.log_path)
    secret.write_text("untouched")
    place.parent.mkdir(parents=True)
    try:
        os.link(secret, place)
    except OSError:  # another file system
        secret = place.parent / "secret"
        secret.write_text("untouched")
        os.link(secret, place)
    assert container.start_refused().code in REFUSED
    assert secret.read_text() == "untouched"


def test_the_pods_own_log_directory_as_a_link(cri, canary, tmp_path):
    (tmp_path / "logs").symlink_to(canary.path / "rw")
    container = cri.run_pod(log_directory=str(tmp_path / "logs")).create(SLEEPER)
    assert container.start_refused().code in REFUSED
