"""I01: no archive entry is written outside its layer, whatever its name or link says (zip-slip and its sisters)."""

import grpc
import pytest

from lib import images, oci, tar

CANARY = "@CANARY@"  # replaced by the canary's path

# Each: entries in order. Loading must be refused, or what is written must be inside the layer.
CASES: dict[str, list[tar.Entry]] = {
    "parent file": [tar.file("../../../../../../..@CANARY@/rw/escaped", "x")],
    "parent file over existing": [tar.file("../../../../../../..@CANARY@/rw/file", "overwritten")],
    "absolute file": [tar.file("@CANARY@/rw/escaped", "x")],
    "dots in the middle": [tar.file("a/../../../../../..@CANARY@/rw/escaped", "x")],
    "symlink then file": [tar.symlink("out", "@CANARY@/rw"), tar.file("out/escaped", "x")],
    "symlink then overwrite": [tar.symlink("out", "@CANARY@/rw"), tar.file("out/file", "overwritten")],
    "relative symlink then file": [
        tar.symlink("d/out", "../../../../../../../..@CANARY@/rw"), tar.file("d/out/escaped", "x")],
    "symlink chain": [tar.symlink("one", "@CANARY@"), tar.symlink("two", "one/rw"), tar.file("two/escaped", "x")],
    "symlink to file then file": [tar.symlink("f", "@CANARY@/rw/file"), tar.file("f", "overwritten")],
    "symlink to root": [tar.symlink("r", "/"), tar.file("r@CANARY@/rw/escaped", "x")],
    "symlink to procfs": [tar.symlink("p", "/proc/self/root"), tar.file("p@CANARY@/rw/escaped", "x")],
    "symlink to descriptor": [tar.symlink("p", "/proc/self/cwd"), tar.file("p/escaped", "x")],
    "directory over symlink": [tar.symlink("out", "@CANARY@/rw"), tar.directory("out/"), tar.file("out/escaped", "x")],
    "directory through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.directory("out/new/")],
    "mode through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.directory("out", mode=0o777)],
    "symlink through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.symlink("out/link", "/etc")],
    "hardlink out": [tar.hardlink("h", "../../../../../..@CANARY@/secret/file"), tar.file("h", "overwritten")],
    "hardlink absolute": [tar.hardlink("h", "@CANARY@/rw/file"), tar.file("h", "overwritten")],
    "hardlink through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.hardlink("h", "out/file"), tar.file("h", "x")],
    "hardlink to symlink then file": [tar.symlink("s", "@CANARY@/rw/file"), tar.hardlink("h", "s"), tar.file("h", "x")],
    "hardlink below symlink": [tar.symlink("out", "@CANARY@/rw"), tar.file("f", "x"), tar.hardlink("out/h", "f")],
    "hardlink then mode": [tar.hardlink("h", "@CANARY@/secret/file"), tar.file("h", "x", mode=0o4777)],
    "fifo through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.fifo("out/fifo")],
    "device through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.character("out/mem", 1, 1)],
    "whiteout through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.whiteout("out/file")],
    "opaque through symlink": [tar.symlink("out", "@CANARY@/rw"), tar.opaque("out")],
    "whiteout outside": [tar.file("../../../../../..@CANARY@/rw/.wh.file")],
    "empty name": [tar.file("", "x")],
    "dot": [tar.file(".", "x")],
    "dot dot": [tar.file("..", "x")],
    "dot dot directory": [tar.directory("../", mode=0o777)],
    "dot dot symlink": [tar.symlink("..", "@CANARY@/rw")],
    "root symlink": [tar.symlink("/", "@CANARY@/rw"), tar.file("escaped", "x")],
    "slashes": [tar.file("////@CANARY@///rw//escaped", "x")],
    "pax path": [tar.Entry("harmless", data=b"x", pax={"path": "../../../../../..@CANARY@/rw/escaped"})],
    "pax linkpath": [
        tar.Entry("s", tar.SYMLINK, link="x", pax={"linkpath": "@CANARY@/rw"}), tar.file("s/escaped", "x")],
    "nul in pax path": [tar.Entry("harmless", data=b"x", pax={"path": b"a\0/../../../../@CANARY@/rw/escaped"})],
    "backslashes": [tar.file("..\\..\\..\\@CANARY@\\rw\\escaped", "x")],
    "socket type": [tar.Entry("sock", b"s")],
    "unknown type": [tar.Entry("odd", b"Z", b"x")],
    "very long name": [tar.file("a/" * 3000 + "f", "x")],
    "component too long": [tar.file("x" * 300, "x")],
    "symlink target too long": [tar.symlink("s", "x/" * 4000)],
}


def planted(entries: list[tar.Entry], path: str) -> list[tar.Entry]:
    import dataclasses

    def place(value):
        return value.replace(CANARY, path) if isinstance(value, str) else value.replace(CANARY.encode(), path.encode())

    return [dataclasses.replace(entry, name=place(entry.name), link=place(entry.link),
                                pax={key: place(value) for key, value in entry.pax.items()}) for entry in entries]


@pytest.mark.parametrize("case", CASES)
def test_nothing_leaves_the_layer(cri, pod, canary, clean, case):
    layer = oci.Layer.of(*planted(CASES[case], str(canary.path)))
    check(cri, pod, canary, images.busybox().with_layers(layer))


@pytest.mark.parametrize("case", [case for case, entries in CASES.items() if len(entries) > 1])
def test_nothing_leaves_over_two_layers(cri, pod, canary, clean, case):
    """The link comes from a lower layer, what goes through it from the next."""
    first, *rest = planted(CASES[case], str(canary.path))
    check(cri, pod, canary, images.busybox().with_layers(oci.Layer.of(first), oci.Layer.of(*rest)))


def check(cri, pod, canary, image: oci.Image) -> None:
    try:
        cri.load(oci.layout_archive({"example.com/hostile:v1": image}))
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED), error.details()
        assert error.details()
        assert cri.image_status("example.com/hostile:v1") is None
    else:
        try:
            container = pod.run(["sh", "-c", "cat /*/file /h /f 2>/dev/null; true"], image="example.com/hostile:v1")
        except grpc.RpcError as error:
            assert error.details()
        else:
            container.wait()
            assert canary.secret not in container.log_text(), "read a file of the host"
    # the canary fixture compares the tree on the host
