"""L11: standard streams are the runtime's own pipes and null device, whatever the image has at /dev/null
(CVE-2026-88265); nothing is chowned to the container's user."""

import os

import pytest

from lib import oci, tar
from lib.cri import SLEEPER, security
from lib.stubs import pb
from test_userns import run_pod

LOOK = "for fd in 0 1 2; do stat -L -c '%F %t:%T %u' /proc/self/fd/$fd; done; echo x > /dev/null; cat /dev/null | wc -c"


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("place", ["link", "volume", "link in a user namespace"])
def test_the_streams_are_ours(cri, image, canary, tmp_path, user, place):
    """Of the first process and of a command; the pipes belong to the process's user, and nothing else does."""
    pod = run_pod(cri) if "user" in place else cri.run_pod()
    victim = tmp_path / "victim"
    victim.write_text("untouched\n")
    victim.chmod(0o644)
    facts = os.stat(victim), os.stat("/dev/null")
    name = image(oci.Layer.of(
        tar.symlink("dev/null", "/mounted/victim"), tar.symlink("dev/stdin", str(canary.path / "rw/file"))))
    linux = security(run_as_user=pb.Int64Value(value=user), run_as_group=pb.Int64Value(value=user))
    where = "/dev/shared" if place == "volume" else "/mounted"
    mounts = [pb.Mount(container_path=where, host_path=str(tmp_path))]
    text = pod.output(LOOK, image=name, linux=linux, mounts=mounts)
    running = pod.run(SLEEPER, image=name, linux=linux, mounts=mounts)
    node = 65534 if "user" in place else 0  # the node's root, as it is seen there
    for lines in (text.splitlines(), running.shell(LOOK).splitlines()):
        assert lines[0] == f"character special file 1:3 {node}", lines  # the node's null device, still root's
        assert {line.rpartition(" ")[0] for line in lines[1:3]} == {"fifo 0:0"} and lines[3] == "0", lines
        assert {line.split()[-1] for line in lines[1:3]} == {str(user)}, lines
    after = os.stat(victim), os.stat("/dev/null")
    assert victim.read_text() == "untouched\n"
    for old, new in zip(facts, after):
        assert (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)
