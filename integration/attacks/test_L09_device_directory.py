"""L09: /dev of the image as a link does not take device nodes and mounts outside (CVE-2026-41579)."""

import grpc
import pytest

from lib import images, oci, tar


def entries(canary) -> dict[str, list[tar.Entry]]:
    rw = str(canary.path / "rw")
    return {
        "dev links to the canary": [tar.symlink("dev", rw)],
        "dev links upwards": [tar.symlink("dev", "../../../../../.." + rw)],
        "dev links to the root": [tar.symlink("dev", "/")],
        "dev is a file": [tar.file("dev", "x")],
        "pts links out": [tar.directory("dev/"), tar.symlink("dev/pts", rw)],
        "shm links out": [tar.directory("dev/"), tar.symlink("dev/shm", rw)],
        "mqueue links out": [tar.directory("dev/"), tar.symlink("dev/mqueue", "../../../.." + rw)],
        "null links out": [tar.directory("dev/"), tar.symlink("dev/null", rw + "/file")],
        "console links out": [tar.directory("dev/"), tar.symlink("dev/console", rw + "/new")],
        "ptmx links out": [tar.directory("dev/"), tar.symlink("dev/ptmx", rw + "/file")],
    }


@pytest.mark.parametrize("number", range(10))
def test_refused_or_contained(cri, pod, canary, clean, number):
    name, planted = list(entries(canary).items())[number]
    base = images.busybox()
    if planted[0].name == "dev":
        base = base.with_layers(oci.Layer.of(tar.whiteout("dev")))
    image = base.with_layers(oci.Layer.of(*planted))
    cri.load(oci.layout_archive({"example.com/dev:v1": image}))
    config = pod.container_config(
        ["sh", "-c", "stat -c '%t:%T' /dev/null; ls -la /dev/ > /dev/null; mount | grep -c ' /dev/pts '; ls /"],
        image="example.com/dev:v1")
    try:
        container = pod.create(config=config).start()
    except grpc.RpcError as error:
        assert "dev" in error.details(), (name, error.details())
        return
    container.wait()
    assert container.log_text().splitlines()[0] == "1:3", name
    assert canary.path.name not in container.log_text()
    # the canary fixture compares the tree on the host
