"""L06: masking uses a null device of the host's, never the container's /dev/null (CVE-2025-31133)."""

import pathlib

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER, security
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
    container.shell("echo '|/evil' > /proc/kcore || true")
    assert CORE.read_text() == before


@pytest.mark.slow
def test_a_neighbour_that_swaps_null_meanwhile(cri, pod, tmp_path):
    """A volume over /dev of one container is shared with a swapper; the mask must hold in every start."""
    before = CORE.read_text()
    volume = [pb.Mount(container_path="/v", host_path=str(tmp_path))]
    swap = ("cd /v; ln -s /proc/sys/kernel/core_pattern evil; mknod null c 1 3; "
            "while :; do mv null t; mv evil null; mv t evil; done")
    swapper = pod.run(["sh", "-c", swap], name="swapper", mounts=volume)
    for number in range(40):
        mounts = [pb.Mount(container_path="/dev/shared", host_path=str(tmp_path))]
        try:
            container = pod.run(
                ["sh", "-c", "cat /proc/kcore 2>/dev/null | wc -c; echo evil > /proc/kcore; true"], name=f"c{number}",
                mounts=mounts, linux=security(masked_paths=MASKED + ["/dev/shared/null"]))
        except grpc.RpcError as error:
            assert error.details()
            continue
        container.wait()
        assert container.log_text().splitlines()[0] == "0"
        assert CORE.read_text() == before
    swapper.stop()
