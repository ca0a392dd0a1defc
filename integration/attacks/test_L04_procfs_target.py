"""L04: /proc and /sys of the image as links or files do not carry the mounts elsewhere (CVE-2019-19921)."""

import grpc
import pytest

from lib import images, oci, tar
from lib.stubs import pb


def without(*names: str) -> oci.Image:
    """Busybox without some of its top directories."""
    return images.busybox().with_layers(oci.Layer.of(*(tar.whiteout(name) for name in names)))


PLANTS = {
    "proc is a link": [tar.symlink("proc", "/tmp/p"), tar.directory("tmp/p/")],
    "proc is a link outwards": [tar.symlink("proc", "../../../../tmp")],
    "sys is a link upwards": [tar.symlink("sys", "..")],
    "proc is a file": [tar.file("proc", "x")],
    "sys is a fifo": [tar.fifo("sys")],
    "proc links to the canary": None,
}


@pytest.mark.parametrize("plant", PLANTS)
def test_an_image_with_other_kernel_directories(cri, pod, canary, clean, plant):
    entries = PLANTS[plant] or [tar.symlink("proc", str(canary.path / "rw"))]
    gone = [entry.name.rstrip("/") for entry in entries if entry.name.rstrip("/") in ("proc", "sys")]
    image = without(*gone).with_layers(oci.Layer.of(*entries))
    cri.load(oci.layout_archive({"example.com/plant:v1": image}))
    config = pod.container_config(
        ["sh", "-c", "cat /proc/self/mountinfo; [ -e /proc/self/status ]"], image="example.com/plant:v1")
    refused = pod.create(config=config).start_refused()
    assert refused.text.startswith(("mount proc", "mount sysfs")) or "/proc" in refused.text or "/sys" in refused.text


@pytest.mark.parametrize("path", ["/proc", "/proc/sys", "/proc/self", "/proc/1", "/proc/self/attr", "/proc/../proc",
                                  "/proc/sysrq-trigger", "/proc/self/exe", "/proc/\u0301x"])
def test_a_volume_over_procfs_is_refused(pod, tmp_path, path):
    try:
        container = pod.create(["true"], mounts=[pb.Mount(container_path=path, host_path=str(tmp_path))])
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "/proc" in error.details()
        return
    refused = container.start_refused()
    assert "/proc" in refused.text
