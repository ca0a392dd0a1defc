"""D05: no VOLUME of an image copies a file of the node into a container (CVE-2022-23648)."""

import grpc
import pytest

from lib import oci, tar
from lib.cri import SLEEPER


@pytest.mark.parametrize("volume", [
    "/v", "/v/secret", "/up/secret", "/mid/l/secret", "/proc-root", "/../..{canary}", "{canary}"])
def test_a_volume_behind_a_link_is_empty(pod, image, canary, volume):
    path = str(canary.path)
    name = image(
        oci.Layer.of(tar.symlink("v", path), tar.symlink("up", "../" * 20 + path[1:]), tar.directory("mid/"),
                     tar.symlink("mid/l", path), tar.symlink("proc-root", "/proc/1/root" + path)),
        Volumes={volume.format(canary=path): {}})
    try:
        container = pod.run(SLEEPER, image=name)
    except grpc.RpcError as error:
        assert "VOLUME" in error.details() or "mount" in error.details(), error.details()
        return
    found = container.shell(f"cat /v/* /v/*/* {path}/* {path}/*/* /up/*/* /mid/l/*/* 2>/dev/null || true")
    assert canary.secret not in found
    container.shell(f"for p in /v {path} {path}/secret; do echo x > $p/written; done 2>/dev/null; true")
    # the canary fixture compares the tree on the host
