"""L06: masking uses a null device of the host's, never the container's /dev/null (CVE-2025-31133).

Seen to fail with a mask made of what the container has at /dev/null."""

import os
import pathlib
import stat

import pytest

from lib import images, kubelet, oci, tar
from lib.cri import SLEEPER, security
from lib.programs import program
from lib.rounds import rounds
from lib.stubs import pb

CORE = pathlib.Path("/proc/sys/kernel/core_pattern")
MASKED = ["/proc/kcore", "/proc/timer_list", "/proc/keys", "/sys/firmware"]


def planted(cri, *entries: tar.Entry) -> str:
    image = images.busybox().with_layers(oci.Layer.of(*entries))
    cri.load(oci.layout_archive({"example.com/mask:v1": image}))
    return "example.com/mask:v1"


@pytest.mark.parametrize("entry", [
    tar.symlink("dev/null", "/proc/sys/kernel/core_pattern"), tar.file("dev/null", "content"), tar.fifo("dev/null"),
    tar.character("dev/null", 1, 5), tar.symlink("dev/null", "../../../../../../etc/passwd"),
], ids=["link to procfs", "file", "fifo", "zero", "link outwards"])
def test_an_image_with_another_null_device(cri, pod, clean, entry):
    before = CORE.read_text()
    container = pod.run(SLEEPER, image=planted(cri, entry), linux=security(masked_paths=MASKED))
    assert container.shell("stat -c '%t:%T %F' /dev/null") == "1:3 character special file\n"
    assert container.shell("cat /proc/kcore /proc/timer_list /proc/keys | wc -c") == "0\n"
    assert container.shell("ls /sys/firmware | wc -l") == "0\n"
    # Its own value: where this is an escape, the test below says so, and the node stays as it is.
    container.shell("cat /proc/sys/kernel/core_pattern > /proc/kcore || true")
    assert CORE.read_text() == before


def test_a_neighbour_that_swaps_null_meanwhile(cri, pod, tmp_path):
    """A request's volume is /dev, and a neighbour exchanges its null device for a link all the while (H3): what hides
    the masked paths is the node's in every start, and nothing of /proc/sys can be written."""
    before = CORE.read_text()
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmp_path / "evil").symlink_to(CORE)
    swapper = pod.run(["/swapper", "/v/null", "/v/evil"], name="swapper", mounts=[
        pb.Mount(container_path="/v", host_path=str(tmp_path)),
        pb.Mount(container_path="/swapper", host_path=str(program("swapper")), readonly=True)])
    look = "cat /proc/keys /proc/timer_list /proc/interrupts | wc -c; cat /proc/sys/kernel/core_pattern > " + str(CORE)
    for number in range(rounds(30, 1000)):
        container = pod.run(["sh", "-c", look], name=f"c{number}", linux=kubelet.ordinary(), mounts=[
            pb.Mount(container_path="/dev", host_path=str(tmp_path))])
        assert container.wait().exit_code == 1
        hidden, refused = container.log_text().splitlines()
        assert hidden == "0" and "Read-only file system" in refused
        container.remove()
    assert swapper.status().state == pb.CONTAINER_RUNNING and CORE.read_text() == before
