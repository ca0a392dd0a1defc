"""L13: making a mount's target never leaves the root (CVE-2024-45310).

What would be made in the node's /etc is seen by test_zz_host.py."""

import os

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb


@pytest.fixture
def planted(cri, canary, clean) -> str:
    rw = str(canary.path / "rw")
    image = images.busybox().with_layers(oci.Layer.of(
        tar.directory("v/"), tar.symlink("v/absolute", rw), tar.symlink("v/relative", "../../../../../.." + rw),
        tar.symlink("v/dangling", rw + "/not-there"), tar.symlink("v/chain", "dangling"), tar.symlink("v/loop", "loop"),
        tar.symlink("v/proc", "/proc/self/root" + rw), tar.symlink("v/to-root", "/"), tar.symlink("v/etc", "/etc"),
        tar.file("v/file", "x")))
    cri.load(oci.layout_archive({"example.com/targets:v1": image}))
    return "example.com/targets:v1"


@pytest.mark.parametrize("target", [
    "/v/absolute/b/c", "/v/relative/b/c", "/v/dangling/b/c", "/v/chain/b/c", "/v/loop/b", "/v/proc/b/c",
    "/v/to-root/made/here", "/v/etc/l13-made", "/v/absolute", "/v/dangling", "/v/file/b",
    "/v/../../../../v/absolute/x", "/v/./absolute/y",
])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_targets_behind_links(pod, planted, canary, tmp_path, target, kind):
    source = tmp_path
    if kind == "file":
        source = tmp_path / "f"
        source.write_text("volume\n")
    else:
        (tmp_path / "marker").write_text("volume\n")
    config = pod.container_config(SLEEPER, image=planted, mounts=[
        pb.Mount(container_path=target, host_path=str(source))])
    try:
        container = pod.create(config=config).start()
    except grpc.RpcError as error:
        assert error.details()
        return
    found = container.shell("grep -c '' /proc/self/mountinfo")
    assert int(found) > 5
    # inside the container the canary's path exists as a directory of its own root at most
    assert canary.secret not in container.shell(f"cat {canary.path}/*/file 2>/dev/null || true")
    container.shell(f"mkdir -p {canary.path}/rw; echo x > {canary.path}/rw/inside 2>/dev/null || true")
    assert not os.path.exists(canary.path / "rw" / "inside")


def test_a_working_directory_behind_a_link_is_made_inside(pod, planted, canary):
    for number, directory in enumerate(("/v/absolute/new", "/v/dangling/new", "/v/relative/new")):
        config = pod.container_config(["pwd"], image=planted, working_dir=directory, name=f"c{number}")
        try:
            container = pod.create(config=config).start()
        except grpc.RpcError as error:
            assert error.details()
            continue
        assert container.wait().exit_code == 0
