"""Groups that somebody on the node has frozen (cgroup.freeze): commands run out of time, all ends that is told to, and
nobody beside notices. v1's freezer is not ours, and no container is in it."""

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.stubs import pb
from test_userns import run_pod
from vm.cases.kernel import ROOT, counts, group


def freeze(directory) -> None:
    (directory / "cgroup.freeze").write_text("1")
    wait.until(lambda: counts(directory, "cgroup.events")["frozen"] == 1, f"{directory} to freeze")


@pytest.mark.parametrize("kind", ["plain", "users"])
def test_a_frozen_container(cri, kind):
    """The command is born into it, and frozen before its first step."""
    pod = cri.run_pod() if kind == "plain" else run_pod(cri)
    frozen, beside = pod.run(SLEEPER, name="frozen"), pod.run(SLEEPER, name="beside")
    freeze(group(frozen))
    command = pb.ExecSyncRequest(container_id=frozen.id, cmd=["true"], timeout=1)
    assert cri.refused("ExecSync", command, timeout=60).code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert beside.shell("echo fine") == "fine\n"
    wait.until(lambda: not list(group(frozen).glob("exec-*")), "end of the command's group")
    frozen.stop(timeout=1)
    assert (frozen.status().exit_code, frozen.status().reason) == (137, "Error")
    wait.until(lambda: not group(frozen).exists(), "end of the group")
    assert beside.shell("echo fine") == "fine\n"


def test_a_frozen_pod(cri, daemon):
    """With shim and pause: the shim does not answer, and is ended, too."""
    parent = f"{cri.cgroup_parent}/frozen"
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=parent))
    container = pod.run(SLEEPER)
    freeze(ROOT / parent.lstrip("/"))
    cri.call("StopPodSandbox", pod_sandbox_id=pod.id, timeout=120)
    assert not pod.ready and container.status().state == pb.CONTAINER_EXITED
    pod.remove()
    (ROOT / parent.lstrip("/")).rmdir()
