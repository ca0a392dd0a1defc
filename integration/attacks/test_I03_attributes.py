"""I03: mode, owner, attributes and times of an entry never go through a link (CVE-2021-32760)."""

import grpc
import pytest

from lib import images, oci, tar


@pytest.mark.parametrize("target", ["rw/file", "secret/file", "rw", "dev/null"])
@pytest.mark.parametrize("second", ["file", "directory", "hardlink", "symlink"])
def test_an_entry_with_the_name_of_a_link(cri, canary, clean, target, second):
    path = str(canary.path / target)
    strong = dict(mode=0o4777, uid=1000, gid=1000, mtime=1, xattrs={"user.evil": b"1"})
    after = {
        "file": tar.file("s", "x", **strong), "directory": tar.directory("s/", **strong),
        "hardlink": tar.Entry("s", tar.HARDLINK, link="s", **strong),
        "symlink": tar.Entry("s", tar.SYMLINK, link=path, **strong),
    }[second]
    for layers in ([[tar.symlink("s", path), after]], [[tar.symlink("s", path)], [after]]):
        image = images.busybox().with_layers(*(oci.Layer.of(*entries) for entries in layers))
        try:
            cri.load(oci.layout_archive({"example.com/attributes:v1": image}))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
    # the canary fixture compares mode, owner, attributes and times on the host


def test_a_links_own_owner_and_attributes(cri, pod, clean, canary):
    path = str(canary.path / "rw" / "file")
    image = images.busybox().with_layers(oci.Layer.of(
        tar.Entry("s", tar.SYMLINK, mode=0o777, uid=1000, gid=1000, mtime=5, link=path)))
    cri.load(oci.layout_archive({"example.com/link:v1": image}))
    assert pod.output("stat -c '%u:%g %F' /s", image="example.com/link:v1") == "1000:1000 symbolic link\n"
