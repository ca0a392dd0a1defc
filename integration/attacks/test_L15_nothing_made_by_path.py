"""L15: no link or file of ours is made by a path in the image: /etc/mtab and its like (CVE-2024-5154)."""

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER


@pytest.mark.parametrize("link", ["../../../../..{rw}", "{rw}", "/proc/self/root/../..{rw}", "../..{rw}/new"])
def test_an_etc_that_leads_away(cri, canary, clean, link):
    target = link.format(rw=canary.path / "rw")
    image = images.busybox().with_layers(
        oci.Layer.of(tar.whiteout("etc"), tar.whiteout("run"), tar.whiteout("dev")),
        oci.Layer.of(*(tar.symlink(name, target) for name in ("etc", "run", "var")), tar.directory("dev/"),
                     tar.symlink("dev/fd", target), tar.symlink("dev/core", target + "/core")))
    cri.load(oci.layout_archive({"example.com/mtab:v1": image}))
    try:
        container = cri.run_pod().run(SLEEPER, image="example.com/mtab:v1")
    except grpc.RpcError as error:
        assert "/etc" in error.details(), error.details()
        return
    assert canary.secret not in container.shell("cat /etc/* /run/* /var/* 2>/dev/null || true")
    container.shell("echo x > /var/written 2>/dev/null || true")
    # the canary fixture compares the tree on the host
