"""L08: what is written to procfs goes to the process's own files, on the node's procfs (CVE-2025-52881).

Every write of every process that a start and an exec make is looked at from outside, by the kernel's name of the file.
"""

import pathlib
import re

from lib import oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb
from lib.trace import children, processes, shim_of

TARGETS = ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern")


def test_every_write_of_a_start_is_to_the_childs_own_file(pod, image, tmp_path):
    """The image and a volume shared with a neighbour have links where procfs has the files that are written."""
    name = image(oci.Layer.of(
        tar.directory("proc/self/"), tar.directory("proc/self/attr/"),
        tar.symlink("proc/self/oom_score_adj", TARGETS[1]), tar.symlink("proc/self/attr/exec", TARGETS[0])))
    (tmp_path / "oom_score_adj").symlink_to(TARGETS[1])
    volume = [pb.Mount(container_path="/shared", host_path=str(tmp_path))]
    before = pathlib.Path(TARGETS[1]).read_text()
    linux = pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(oom_score_adj=321))
    with processes(pod, "clone3", "write", "pwrite64", "writev", "execve", "execveat") as found:
        container = pod.run(SLEEPER, image=name, mounts=volume, linux=linux)
        for number in range(3):
            pod.run(["true"], image=name, mounts=volume, linux=linux, name=f"short-{number}").wait()
        assert container.shell("cat /proc/self/oom_score_adj") == "321\n"
    born = children(found, shim_of(pod))
    assert len(born) == 5, found.keys()
    scores = 0
    for pid, calls in born.items():
        for call, arguments, _ in calls:
            if call in ("execve", "execveat"):
                continue
            target = re.match(r"\d+<([^>]*)>", arguments).group(1)
            if target == f"/proc/{pid}/oom_score_adj":
                scores += 1
            else:
                assert re.fullmatch(r"/sys/fs/cgroup/.*/(tasks|cgroup\.procs)", target), (call, arguments)
    assert scores == 5
    assert pathlib.Path(TARGETS[1]).read_text() == before


def test_a_sysctl_is_written_to_its_own_file(cri):
    """Pause's child, before it is pause: the names of the files, in the order of the request."""
    before = pathlib.Path(TARGETS[1]).read_text(), pathlib.Path("/proc/sys/kernel/shm_rmid_forced").read_text()
    linux = pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, sysctls={"kernel.shm_rmid_forced": "1"})
    pod = cri.run_pod(linux=linux)
    assert pod.output("cat /proc/sys/kernel/shm_rmid_forced") == "1\n"
    assert (pathlib.Path(TARGETS[1]).read_text(),
            pathlib.Path("/proc/sys/kernel/shm_rmid_forced").read_text()) == before
