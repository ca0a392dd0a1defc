"""How containers end on cgroup v2: by cgroup.kill, and by want of memory."""

import pathlib
import signal

import grpc

from lib import logs, wait
from lib.cri import SLEEPER, resources
from lib.pods import catches
from lib.stubs import pb
from vm.cases.kernel import counts, group, writes_to

MIB = 1 << 20
HOG = "dd if=/dev/zero of=/dev/null bs=64M count=1"


def shared_pids(cri):
    """A pod whose containers share its PID namespace: the end of a first process ends nothing else by itself."""
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))


def alive(pids: list[str]) -> list[str]:
    return [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]


def test_a_stop_kills_the_whole_group_at_once(cri):
    pod = shared_pids(cri)
    container = pod.run(["sh", "-c", "trap 'exit 3' TERM; sleep 1000 & sleep 1000 & (setsid sleep 1000 &); wait"])
    directory = group(container)
    wait.until(lambda: len((directory / "cgroup.procs").read_text().split()) == 4, "four processes")
    pids = (directory / "cgroup.procs").read_text().split()
    with writes_to(directory / "cgroup.kill") as written:
        container.stop(timeout=20)
        assert written(), "nobody wrote to cgroup.kill"
    assert container.status().exit_code == 3
    wait.until(lambda: not alive(pids), "end of all that the container had started")
    wait.until(lambda: not directory.exists(), "end of the group")


def test_a_container_that_forks_all_the_time_is_ended(cri):
    pod = shared_pids(cri)
    script = "for n in 1 2 3 4 5; do (while :; do sh -c 'usleep 1000 & usleep 1000 & wait'; done) & done; wait"
    container = pod.run(["sh", "-c", script], linux=resources(unified={"pids.max": "100"}))
    directory = group(container)
    wait.until(lambda: len((directory / "cgroup.procs").read_text().split()) > 9, "processes that make processes")
    container.stop(timeout=0)
    assert container.status().exit_code == 137
    wait.until(lambda: not directory.exists(), "end of the group")


def test_a_command_that_takes_too_long_takes_its_children_with_it(pod):
    container = pod.run(SLEEPER)
    refused = container.client.refused("ExecSync", timeout=30, request=pb.ExecSyncRequest(
        container_id=container.id, cmd=["sh", "-c", "(setsid sleep 1000 &); (sleep 1000 &); sleep 1000"], timeout=1))
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    wait.until(lambda: not list(group(container).glob("exec-*")), "end of the command's group")
    assert "sleep 1000" not in container.shell("ps")


def test_out_of_memory_ends_one_process_or_the_whole_group(pod):
    """memory.oom.group=1 is what kubelet sends; without it the kernel chooses one process."""
    script = ["sh", "-c", f"{HOG}; echo went on after $?; exit 7"]
    one = pod.run(script, name="one", linux=resources(memory_limit_in_bytes=20 * MIB))
    status = one.wait()
    assert (status.exit_code, status.reason) == (7, "Error")
    assert logs.text(one.log_path, "stdout") == "went on after 137\n"
    whole = pod.run(script, name="whole", linux=resources(
        memory_limit_in_bytes=20 * MIB, unified={"memory.oom.group": "1"}))
    status = whole.wait()
    assert (status.exit_code, status.reason) == (137, "OOMKilled") and logs.text(whole.log_path, "stdout") == ""


def test_a_command_counts_for_its_container(pod):
    """The command's own group has no limit: the container's holds for both, and the container lives on."""
    container = pod.run(SLEEPER, linux=resources(memory_limit_in_bytes=20 * MIB))
    assert container.execute("sh", "-c", HOG).exit_code == 137
    assert counts(group(container), "memory.events")["oom_kill"] == 1
    assert container.status().state == pb.CONTAINER_RUNNING
    catches(container, signal.SIGTERM)
    container.stop(timeout=20)
    assert (container.status().exit_code, container.status().reason) == (0, "Completed")
