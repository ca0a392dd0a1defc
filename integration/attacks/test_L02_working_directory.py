"""L02: no descriptor of the host is inherited, and no working directory leads to one (CVE-2024-21626)."""

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
    """Refused at creation or at start with an error that says so; a shell never runs outside the root."""
    for number in range(3, 41):
        path = template.format(number)
        config = pod.container_config(["sh", "-c", "pwd; ls -a"], image=linked, working_dir=path, name=f"c{number}")
        try:
            container = pod.create(config=config)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and path in error.details()
            continue
        try:
            container.start()
        except grpc.RpcError as error:
            assert any(word in error.details() for word in (path, "cwd", "working")), error.details()
            assert container.status().reason == "StartError"
        else:  # the path was made as an ordinary directory, or is one of the image's own
            container.wait()
            assert canary.path.name not in container.log_text(), container.log_text()
            assert not container.log_text().startswith("(unreachable)")
        container.remove()


def test_only_standard_descriptors_in_containers_and_commands(pod):
    container = pod.run(["sh", "-c", "ls -l /proc/self/fd; while :; do sleep 1000; done"])
    assert container.shell("ls /proc/1/fd").split() == ["0", "1", "2"]
    assert container.shell("ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own
    assert "/" not in {container.shell(f"readlink /proc/1/fd/{fd}").strip() for fd in range(3)}


def test_the_working_directory_is_always_inside(pod):
    container = pod.run(SLEEPER, working_dir="/tmp")
    assert container.shell("readlink /proc/self/cwd; readlink /proc/1/cwd") == "/tmp\n/tmp\n"
