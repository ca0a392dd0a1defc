"""I04: a whiteout names one entry of its directory, or is refused or ignored; it never replaces the directory."""

import grpc
import pytest

from lib import images, oci, tar

NAMES = [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "a/.wh...", ".wh..wh.x", ".wh..wh.", "a/.wh..wh..opq/",
         "/.wh.", "./.wh.", ".wh./x", "a/.wh../x", ".wh..wh..opq", ".wh..wh.plnk/x"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_whiteouts(cri, pod, canary, clean, name):
    below = oci.Layer.of(tar.directory("a/"), tar.file("a/kept", "x"))
    odd = oci.Layer.of(tar.file(name, ""), tar.file("after", "written after it\n"))
    image = images.busybox().with_layers(below, odd)
    try:
        cri.load(oci.layout_archive({"example.com/whiteout:v1": image}))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
        assert cri.image_status("example.com/whiteout:v1") is None
        return
    if name == ".wh..wh..opq":  # legal: hides all of the layers below, busybox too
        return
    hidden = "kept\n" if "opq" not in name else ""  # with a slash behind it still the mark, or ignored
    assert pod.output("cat /after; ls /a", image="example.com/whiteout:v1") in (
        "written after it\nkept\n", "written after it\n" + hidden)


def test_a_whiteout_of_the_root_itself(cri, pod, clean):
    """The directory that layers are unpacked to is still the same one: other images start."""
    for name in (".wh..", "./.wh..", ".wh./"):
        image = images.busybox().with_layers(oci.Layer.of(tar.file(name)))
        try:
            cri.load(oci.layout_archive({"example.com/root:v1": image}))
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert pod.output("echo fine") == "fine\n"
