"""L08: what is written to procfs goes to the process's own files, on the node's procfs (CVE-2025-52881).

Every write of every process that a start and an exec make is looked at from outside, by the kernel's name of the file,
which has been opened where no mount may be entered: one name is one inode there. What the daemon writes about a process
goes by its number in the node's own procfs, where nobody but the node can mount.

Seen to fail with oom_score_adj written by the container's procfs instead of the node's.
"""

import os
import pathlib
import re

import pytest

from lib import oci, tar, tracing
from lib.cri import SLEEPER
from lib.programs import program
from lib.rounds import rounds
from lib.stubs import pb
from lib.trace import Call, children, processes, shim_of, until_exec
from test_userns import run_pod, sandbox_linux

STARTS = rounds(20, 2000)
TARGETS = ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern")


def writes(calls: list[Call]) -> list[str]:
    """The files that were written to before the program ran, as the kernel names them.

    A name is that of a mount's place when something is mounted there. So each file of procfs must have been opened, by
    the same process, where no mount may be entered: then there is one inode of that name."""
    found, opened = [], {}
    for call, arguments, result in calls:
        if call == "openat2" and result >= 0:
            opened[result] = "RESOLVE_NO_XDEV" in arguments
        if call.startswith(("write", "pwrite")):
            number, target = re.match(r"(\d+)<([^>]*)>", arguments).groups()
            assert not target.startswith("/proc/") or opened.get(int(number)), (target, calls)
            found.append(target)
    return found


def scores(born: dict[int, list[Call]]) -> int:
    """How many of these wrote their own oom_score_adj. Nothing else of procfs was written."""
    found = 0
    for pid, calls in born.items():
        for target in writes(calls):
            if target == f"/proc/{pid}/oom_score_adj":
                found += 1
            else:
                assert re.fullmatch(r"/sys/fs/cgroup/.*/(tasks|cgroup\.procs)", target), (pid, target)
    return found


def test_every_write_of_a_start_is_to_the_childs_own_file(pod, image, tmp_path):
    """The image has links where procfs has the files that are written, and a neighbour exchanges such links with files
    all the while (H3), in a volume that each container shares."""
    name = image(oci.Layer.of(
        tar.directory("proc/self/"), tar.directory("proc/self/attr/"),
        tar.symlink("proc/self/oom_score_adj", TARGETS[1]), tar.symlink("proc/self/attr/exec", TARGETS[0])))
    (tmp_path / "oom_score_adj").symlink_to(TARGETS[1])
    (tmp_path / "other").write_text("")
    volume = [pb.Mount(container_path="/shared", host_path=str(tmp_path))]
    swapper = pod.run(["/swapper", "/shared/oom_score_adj", "/shared/other"], name="swapper", mounts=[
        *volume, pb.Mount(container_path="/swapper", host_path=str(program("swapper")), readonly=True)])
    before = pathlib.Path(TARGETS[1]).read_text()
    linux = pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(oom_score_adj=321))
    with processes(pod, "clone3", "write", "pwrite64", "writev", "openat2", "execve", "execveat") as found:
        container = pod.run(SLEEPER, image=name, mounts=volume, linux=linux)
        for number in range(STARTS):
            short = pod.run(["true"], image=name, mounts=volume, linux=linux, name=f"short-{number}")
            short.wait()
            short.remove()
        assert container.shell("cat /proc/self/oom_score_adj") == "321\n"
    born = children(found, shim_of(pod))
    assert len(born) == STARTS + 2, found.keys()
    assert scores(born) == STARTS + 2
    assert pathlib.Path(TARGETS[1]).read_text() == before
    assert swapper.status().state == pb.CONTAINER_RUNNING


def test_in_a_user_namespace(cri):
    """The score is written by the process in between, before it joins: it is the first one's by inheritance."""
    pod = run_pod(cri)
    linux = pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(oom_score_adj=321))
    with processes(pod, "clone3", "write", "pwrite64", "writev", "openat2", "execve", "execveat") as found:
        container = pod.run(SLEEPER, linux=linux)
        assert container.shell("cat /proc/1/oom_score_adj /proc/self/oom_score_adj") == "321\n321\n"
    shim = shim_of(pod)
    targets = {target.replace(f"/{pid}/", "/PID/") for pid, calls in found.items() if pid != shim
               for target in writes(until_exec(calls) or calls)}
    procfs = {target for target in targets if not target.startswith(("/sys/fs/cgroup/", "pipe:"))}
    assert procfs == {"/proc/PID/oom_score_adj"}, targets


@pytest.mark.parametrize("kind", ["ordinary", "user namespace"])
def test_what_a_pod_is_made_with_goes_to_its_own_files(cri, daemon, tmp_path, kind):
    """By the daemon and all that it starts: sysctls, ids, scores, and what the pod's network has of its own."""
    watched = [pathlib.Path(path) for path in (TARGETS[1], "/proc/sys/kernel/shm_rmid_forced")]
    before = [path.read_text() for path in watched]
    sysctls = {"kernel.shm_rmid_forced": "1"}
    linux = (pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, sysctls=sysctls) if kind == "ordinary"
             else sandbox_linux(cri, sysctls=sysctls))
    before_pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
    log = tmp_path / "trace"
    options = ["-y", "-s", "64", "-e", "signal=none"]
    with tracing.traced(daemon.pid, log, "write", "pwrite64", "writev", options=options):
        pod = cri.run_pod(linux=linux)
    targets = [re.match(r"\d+<([^>]*)>", arguments) for _, _, arguments, result in tracing.calls(log) if result > 0]
    numbers = {int(found) for target in targets if target for found in re.findall(r"^/proc/(\d+)/", target[1])}
    assert not numbers & before_pids, "a process that was there before"
    procfs = {re.sub(r"/\d+/", "/PID/", target[1]) for target in targets if target and target[1].startswith("/proc/")}
    assert "/proc/sys/kernel/shm_rmid_forced" in procfs and "/proc/PID/oom_score_adj" in procfs, procfs
    own = {path for path in procfs if re.fullmatch(r"/proc/PID/(oom_score_adj|[ug]id_map|setgroups)", path)}
    assert {"/proc/PID/uid_map", "/proc/PID/gid_map"} <= own or kind == "ordinary"
    assert {path for path in procfs - own if not path.startswith("/proc/sys/net/")} == {
        "/proc/sys/kernel/shm_rmid_forced"}
    assert pod.output("cat /proc/sys/kernel/shm_rmid_forced") == "1\n"
    assert [path.read_text() for path in watched] == before
