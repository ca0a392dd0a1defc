"""D10: the image's passwd and group are read only if they are regular files, and small (CVE-2026-47262,
CVE-2025-4437)."""

import grpc
import pytest

from lib import images, oci, pods, tar, wait
from lib.cri import SLEEPER, security
from lib.stubs import pb


def resident(pid: int) -> int:
    """Bytes of a process that are in memory."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def plants(name: str) -> dict[str, list[tar.Entry]]:
    links = [tar.symlink(f"etc/{name}", "l1")] + [tar.symlink(f"etc/l{n}", f"l{n + 1}") for n in range(1, 42)]
    return {
        "fifo": [tar.fifo(f"etc/{name}")], "zero device": [tar.character(f"etc/{name}", 1, 5)],
        "directory": [tar.directory(f"etc/{name}/")], "links": links,
        "link outwards": [tar.symlink(f"etc/{name}", "../../../../../../etc/shadow")],
        "magic link": [tar.symlink(f"etc/{name}", "/proc/self/fd/0")],
        "large": [tar.file(f"etc/{name}", b"x" * (48 << 20))],
        "one line": [tar.file(f"etc/{name}", b"root:x:0:0:" + b"y" * (2 << 20))],
    }


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize("kind", plants("x"))
def test_refused_or_as_if_it_were_not_there(cri, daemon, pod, clean, name, kind):
    image = images.busybox().with_layers(oci.Layer.of(tar.whiteout(f"etc/{name}")), oci.Layer.of(*plants(name)[kind]))
    cri.load(oci.layout_archive({"example.com/accounts:v1": image}))
    # What unpacking took is given back in its own time; the reading is what is measured.
    before, ticks = resident(daemon.pid), pods.cpu_ticks(daemon.pid)
    for user in (dict(run_as_username="alice"), dict(run_as_user=pb.Int64Value(value=1000))):
        try:
            pod.create(SLEEPER, image="example.com/accounts:v1", linux=security(**user), name=next(iter(user))).remove()
        except grpc.RpcError as error:
            assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION,
                                    grpc.StatusCode.INTERNAL), error
            assert name in error.details() or "alice" in error.details(), error.details()
    assert resident(daemon.pid) - before < 24 << 20
    assert pods.cpu_ticks(daemon.pid) - ticks < 100  # a second of processor time
    assert wait.until(lambda: cri.call("Version").version, "answer")
