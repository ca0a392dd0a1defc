"""L02: no descriptor of the host is inherited, and no working directory leads to one (CVE-2024-21626).

Seen to fail with descriptors left open without close_range, and with ContainerRoot.open without resolve flags."""

import grpc
import pytest

from lib import oci, tar
from lib.cri import SLEEPER

TEMPLATES = ["/proc/self/fd/{}", "/proc/1/fd/{}", "/proc/thread-self/fd/{}", "/link-{}"]


@pytest.fixture
def linked(image):
    return image(oci.Layer.of(*(tar.symlink(f"link-{number}", f"/proc/self/fd/{number}") for number in range(3, 41))))


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_descriptor_as_working_directory(pod, linked, canary, template):
    """Refused at creation or at start with an error that says so; for a command as for the first process."""
    running = pod.run(SLEEPER, image=linked, name="running")
    for number in range(3, 41):
        path = template.format(number)
        config = pod.container_config(["sh", "-c", "pwd; ls -a"], image=linked, working_dir=path, name=f"c{number}")
        try:
            container = pod.create(config=config)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and path in error.details()
            continue
        refused = container.start_refused()
        assert "working directory" in refused.text, refused
        assert container.status().reason == "StartError"
        container.remove()
    assert running.shell("pwd") == "/\n" and canary.path.name not in running.shell("ls -a / /proc/self/cwd/")


@pytest.mark.parametrize("link", ["/proc/self/fd/8", "/proc/1/root", "/proc/self/cwd", "../../../../..{canary}/rw"])
def test_a_command_in_a_directory_that_became_a_link(pod, canary, link):
    """A command's working directory is its container's, which the container may have exchanged."""
    container = pod.run(SLEEPER, working_dir="/work")
    container.shell(f"cd / && rmdir /work && ln -s {link.format(canary=canary.path)} /work")
    try:
        answer = container.execute("sh", "-c", "pwd -P; cat file")
    except grpc.RpcError as error:
        assert "working directory" in error.details(), error.details()
        return
    # Inside the root, where it was made as an ordinary directory.
    assert link.startswith("..") and answer.exit_code == 1, answer
    assert answer.stdout.decode() == f"{canary.path}/rw\n"


def test_only_standard_descriptors_in_containers_and_commands(pod):
    container = pod.run(["sh", "-c", "ls -l /proc/self/fd; while :; do sleep 1000; done"])
    assert container.shell("ls /proc/1/fd").split() == ["0", "1", "2"]
    assert container.shell("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own
    assert "/" not in {container.shell(f"readlink /proc/1/fd/{fd}").strip() for fd in range(3)}


def test_the_working_directory_is_always_inside(pod):
    container = pod.run(SLEEPER, working_dir="/tmp")
    assert container.shell("readlink /proc/self/cwd; readlink /proc/1/cwd") == "/tmp\n/tmp\n"
