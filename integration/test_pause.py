"""The pause process: starts first, sleeps, holds the namespaces, is still there when the containers die."""

import os
import pathlib
import signal

import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.stubs import pb


def test_containers_end_with_a_killed_pause_that_was_their_process_one(cri):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    container = pod.run(SLEEPER)
    os.kill(pod.info()["pid"], signal.SIGKILL)
    assert container.wait().exit_code == 137
    wait.until(lambda: not pod.ready, "the pod to be told not ready")


def test_pause_reaps_orphans_of_a_shared_pid_namespace(cri):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    container = pod.run(SLEEPER)
    container.shell("for i in 1 2 3 4 5; do (sleep 0.01 & ) ; done; sleep 0.2")
    wait.until(lambda: " Z" not in container.shell("ps -o pid,stat,comm"), "no zombies")


def test_shim_and_pause_are_small(cri, daemon):
    pods = [cri.run_pod() for _ in range(4)]
    pids = daemon.shims() + [pod.info()["pid"] for pod in pods]
    assert len(pids) == 8

    def pss(pid: int) -> int:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))

    per_pod = sum(map(pss, pids)) / len(pods)
    assert per_pod <= 0.6 * 1024, f"{per_pod} KiB per pod"


def test_pause_is_poor(cri, daemon):
    """No capability, no descriptor of anybody's, no way to new privileges."""
    pause = cri.run_pod().info()["pid"]
    status = pathlib.Path(f"/proc/{pause}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
    capabilities = int(pathlib.Path(f"/proc/{daemon.pid}/status").read_text().split("CapEff:")[1].split()[0], 16)
    own = int(pathlib.Path(f"/proc/{daemon.pid}/oom_score_adj").read_text())  # lower needs CAP_SYS_RESOURCE
    score = int(pathlib.Path(f"/proc/{pause}/oom_score_adj").read_text())
    assert score == (-998 if capabilities >> 24 & 1 else max(-998, own))
    assert {os.readlink(f"/proc/{pause}/fd/{fd}") for fd in os.listdir(f"/proc/{pause}/fd")} <= {"/dev/null"}


@pytest.mark.parametrize("profile, mode", [
    (None, 0), (pb.SecurityProfile(), 2), (pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined), 0)])
def test_pause_is_as_the_pod_says(cri, profile, mode):
    """Its filter, user and groups."""
    context = pb.LinuxSandboxSecurityContext(
        seccomp=profile, run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=50),
        supplemental_groups=[7])
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))
    lines = pathlib.Path(f"/proc/{pod.info()['pid']}/status").read_text().splitlines()
    status = {line.split(":")[0]: line.split()[1:] for line in lines}
    assert status["Seccomp"] == [str(mode)]
    assert (status["Uid"], status["Gid"], status["Groups"]) == (["1000"] * 4, ["50"] * 4, ["7", "50"])
