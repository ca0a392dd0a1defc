"""L05: a VOLUME of an image at /proc, or a link to there, puts no forged procfs in the way of ours (CVE-2019-16884)."""

import pathlib

import pytest

from lib import oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb

FORGED = oci.Layer.of(
    tar.directory("proc/self/attr/"), tar.file("proc/self/attr/exec", "forged"),
    tar.file("proc/self/oom_score_adj", "0"),
    tar.directory("fake/self/"), tar.file("fake/self/oom_score_adj", "0"), tar.file("fake/forged", "x"),
    tar.symlink("link", "/proc"), tar.symlink("up", "../../../proc"), tar.symlink("system", "/sys"),
    tar.symlink("devices", "/dev"))


@pytest.mark.parametrize("volumes", [
    ["/proc"], ["/proc/self/attr", "/proc/sys"], ["/link"], ["/up", "/system", "/devices"], ["//proc//", "/x/../proc"],
    ["/sys", "/sys/fs/cgroup", "/dev", "/dev/shm"],
])
def test_the_kernels_are_the_kernels(pod, image, volumes):
    name = image(FORGED, Volumes={path: {} for path in volumes})
    container = pod.run(SLEEPER, image=name, linux=pb.LinuxContainerConfig(
        resources=pb.LinuxContainerResources(oom_score_adj=777)))
    pid = container.info()["pid"]
    assert pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text() == "777\n"
    assert container.shell("cat /proc/self/oom_score_adj") == "777\n"
    types = {}
    for line in container.shell("cat /proc/self/mountinfo").splitlines():
        words = line.split()
        types[words[4]] = words[words.index("-") + 1]  # the last one at a place is the visible one
    assert (types["/proc"], types["/sys"], types["/dev"], types["/dev/pts"]) == ("proc", "sysfs", "tmpfs", "devpts")
    assert not [path for path in types if path.startswith("/proc/")], types
    assert container.shell("stat -c %t:%T /dev/null") == "1:3\n"
