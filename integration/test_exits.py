"""How a container's end is told: exit code, reason, times; and an OOM kill is told from any other."""

import pytest

from lib import wait
from lib.cri import SLEEPER, resources
from lib.stubs import pb


@pytest.mark.parametrize("script, code, reason", [
    ("exit 0", 0, "Completed"), ("exit 1", 1, "Error"), ("exit 255", 255, "Error"), ("kill -SEGV $$", 139, "Error"),
    ("kill -ABRT $$", 134, "Error"),
])
def test_exit_code_and_reason(cri, script, code, reason):
    """In the pod's PID namespace, where the container's first process is not PID 1 and dies of its own signal."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    status = pod.run(["sh", "-c", script]).wait()
    assert (status.exit_code, status.reason, status.message) == (code, reason, "")
    assert 0 < status.created_at <= status.started_at <= status.finished_at


@pytest.mark.parametrize("signal, code", [("TERM", 143), ("KILL", 137), ("INT", 130)])
def test_killed_by_a_signal_from_outside(cri, signal, code):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    container = pod.run(["sleep", "1000"])
    killer = pod.run(SLEEPER, name="killer")
    killer.shell(f"kill -{signal} $(ps | awk '/[s]leep 1000/ {{print $1}}')")
    status = container.wait()
    assert (status.exit_code, status.reason) == (code, "Error")


def test_too_much_memory_is_told_as_oom_killed(pod):
    container = pod.run(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"],
                        linux=resources(memory_limit_in_bytes=15 << 20))
    status = container.wait()
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


def test_a_kill_below_the_limit_is_no_oom(pod):
    container = pod.run(SLEEPER, linux=resources(memory_limit_in_bytes=15 << 20))
    container.stop(timeout=0)
    status = container.status()
    assert (status.exit_code, status.reason) == (137, "Error")


def test_oom_killed_is_never_told_as_something_else_first(pod):
    """Every status seen on the way is either running or the final one."""
    container = pod.run(["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"],
                        linux=resources(memory_limit_in_bytes=15 << 20))
    seen = set()
    while True:
        status = container.status()
        seen.add((status.state, status.reason))
        if status.state == pb.CONTAINER_EXITED:
            break
    assert seen <= {(pb.CONTAINER_RUNNING, ""), (pb.CONTAINER_EXITED, "OOMKilled")}


@pytest.mark.parametrize("command, word", [
    (["/no/such/program"], "/no/such/program"), (["no-such-program"], "no-such-program"),
    (["/etc/passwd"], "/etc/passwd"), (["/tmp"], "/tmp"),
])
def test_a_program_that_cannot_be_executed_is_a_start_error(pod, command, word):
    container = pod.create(command)
    refused = container.start_refused()
    assert word in refused.text, refused
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED
    assert (status.exit_code, status.reason) == (128, "StartError")
    assert word in status.message
    assert status.started_at == 0 and status.finished_at > 0


def test_a_process_that_ends_at_once_has_still_started(pod):
    for number in range(20):
        status = pod.run(["true"], name=f"quick-{number}").wait()
        assert status.exit_code == 0 and 0 < status.started_at <= status.finished_at


def test_the_last_output_is_in_the_log_when_the_end_is_told(pod):
    for number in range(10):
        container = pod.run(["sh", "-c", "seq 1 2000; echo last"], name=f"burst-{number}")
        container.wait()
        assert container.log_text().endswith("2000\nlast\n")


def test_children_end_with_the_first_process(cri):
    """Also where the pod shares its PIDs, so that no PID namespace dies with it."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))
    watcher = pod.run(SLEEPER, name="watcher")
    pod.run(["sh", "-c", "sleep 7654 & exec true"]).wait()
    wait.until(lambda: "7654" not in watcher.shell("ps"), "the end of what was killed")
