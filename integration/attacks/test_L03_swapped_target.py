"""L03: the place of a mount is exchanged for a link outwards while it is resolved and mounted (CVE-2021-30465).

A neighbour in the same pod exchanges a directory and a link in a shared volume without pause (H3). First at full speed;
then with the runtime held up for milliseconds between finding each place and mounting there (H4, by strace), so that
every single start meets exchanges in that gap.

Seen to fail with ContainerRoot.open without RESOLVE_IN_ROOT: the canary changes.
"""

import os
import pathlib

import grpc
import pytest

from lib import tracing, wait
from lib.cri import SLEEPER
from lib.programs import program
from lib.rounds import rounds
from lib.stubs import pb
from test_userns import mapped, run_pod

FAST, SLOW = rounds(40, 2000), rounds(8, 200)
IN_USER_NAMESPACE = rounds(10, 500)  # there another process mounts
GAP = 4000  # microseconds


def host_mounts() -> dict[str, str]:
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return {" ".join(line.split()[:5]): line for line in lines}  # a number alone may soon be another mount's


@pytest.mark.parametrize("kind", ["ordinary", "user namespace"])
def test_a_place_that_is_swapped(cri, daemon, canary, tmp_path, kind):
    ordinary = kind == "ordinary"
    pod = cri.run_pod() if ordinary else run_pod(cri)
    fast, slow = (FAST, SLOW) if ordinary else (IN_USER_NAMESPACE, 3)
    volume, source = tmp_path / "volume", tmp_path / "source"
    (volume / "x").mkdir(parents=True)
    (volume / "y").symlink_to(canary.path / "rw")
    source.mkdir()
    (source / "file").write_text("mounted\n")
    shared = pb.Mount(container_path="/v", host_path=str(volume)) if ordinary else mapped(volume, "/v")
    volume.chmod(0o777)
    swapper = pod.run(["/swapper", "/v/x", "/v/y"], name="swapper", mounts=[
        shared, pb.Mount(container_path="/swapper", host_path=str(program("swapper")), readonly=True)])
    wait.until(lambda: "ready" in swapper.log_text(), "swapper")
    before = host_mounts()
    over = pb.Mount(container_path="/v/x", host_path=str(source), readonly=True)

    def start(number: int) -> bool:
        """Whether it could; every second one has a mount that covers the places of the others."""
        container = pod.create(SLEEPER, name=f"victim-{number}", mounts=[
            shared, pb.Mount(container_path=f"/v/x/made/{number}", host_path=str(source)),
            pb.Mount(container_path=f"/v/x/f{number}", host_path=str(source / "file")),
            pb.Mount(container_path="/v/x/image", readonly=True, image=pb.ImageSpec(image="busybox")),
            *([over] if number % 2 else [])])
        try:
            container.start()
            # wherever they went, they are in the container's own tree
            points = [line.split()[4] for line in container.shell("cat /proc/self/mountinfo").splitlines()]
            assert len(points) > 10 and not [point for point in points if "/rootfs/" in point], points
            return True
        except grpc.RpcError as error:
            assert "mount" in error.details() and "/v/x" in error.details(), error.details()
            return False
        finally:
            container.remove()

    for number in range(fast):
        start(number)
    (shim,) = daemon.shims()
    with tracing.traced(shim, tmp_path / "trace", "move_mount", slow={"move_mount": GAP}):
        for number in range(fast, fast + slow):
            start(number)
    assert swapper.status().state == pb.CONTAINER_RUNNING
    # How many of them could is chance. With nobody in the way one can.
    swapper.stop()
    if (volume / "x").is_symlink():
        for old, new in (("x", "z"), ("y", "x"), ("z", "y")):
            (volume / old).rename(volume / new)
    assert start(2 * (fast + slow))
    assert sorted(os.listdir(source)) == ["file"] and (source / "file").read_text() == "mounted\n"
    after = host_mounts()
    changed = [line for mount, line in after.items() if before.get(mount, line) != line]
    fresh = [line for mount, line in after.items() if mount not in before and (
        str(daemon.base) in line or str(tmp_path) in line or str(canary.path) in line)]
    assert not changed and not fresh
    # the canary fixture compares the tree on the host
