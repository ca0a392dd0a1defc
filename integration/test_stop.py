"""StopContainer: the ladder from the stop signal to SIGKILL, its deadlines, and what it takes along."""

import time

import grpc
import pytest

from lib import oci, wait
from lib.census import CGROUPS
from lib.cri import SLEEPER
from lib.failpoints import Call
from lib.stubs import pb

# Says each TERM that comes, and stays.
DEAF = ["sh", "-c", "trap 'echo term' TERM; echo ready; while :; do sleep 1000 & wait; done"]
LONG, MUCH_LESS = 120, 60


def deaf(pod, **more):
    container = pod.run(DEAF, **more)
    wait.until(lambda: "ready" in container.log_text(), "the trap")
    return container


def shared(cri):
    """A pod whose containers have no PID namespace of their own."""
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))


@pytest.mark.parametrize("first, second", [(LONG, 1), (3, LONG)])  # 3: `term` must be said before the kill
def test_the_earliest_deadline_counts_and_the_signal_comes_once(pod, first, second):
    container = deaf(pod)
    began = time.monotonic()
    one = Call(container.stop, first)
    wait.until(lambda: "term" in container.log_text(), "the stop signal")
    two = Call(container.stop, second)
    one.result(MUCH_LESS)
    two.result(MUCH_LESS)
    assert 0.9 < time.monotonic() - began < MUCH_LESS
    assert container.log_text() == "ready\nterm\n"
    assert (container.status().exit_code, container.status().reason) == (137, "Error")


def test_a_caller_that_leaves_does_not_take_the_kill_along(pod):
    container = deaf(pod)
    stop = pod.client.runtime.StopContainer.future(pb.StopContainerRequest(container_id=container.id, timeout=4))
    wait.until(lambda: "term" in container.log_text(), "the stop signal")
    assert stop.cancel()
    assert container.status().state == pb.CONTAINER_RUNNING
    assert container.wait().exit_code == 137


@pytest.mark.parametrize("timeout", [0, -1, -(1 << 63)])
def test_no_grace(pod, timeout):
    container = deaf(pod)
    container.client.call("StopContainer", pb.StopContainerRequest(container_id=container.id, timeout=timeout))
    assert container.status().exit_code == 137
    assert container.log_text() == "ready\n"


@pytest.mark.parametrize("timeout", [1 << 40, (1 << 63) - 1])
def test_a_grace_without_end(pod, timeout):
    """No clock of the daemon's overflows."""
    container = pod.run(["sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 1000 & wait; done"])
    wait.until(lambda: "ready" in container.log_text(), "the trap")
    container.client.call("StopContainer", pb.StopContainerRequest(container_id=container.id, timeout=timeout))
    assert container.status().exit_code == 4
    pod.client.call("Version")


@pytest.mark.parametrize("asked, image_says, number", [
    (pb.SIGNAL_SIGRTMINPLUS3, "", 37), (pb.SIGNAL_SIGHUP, "SIGQUIT", 1), (0, "SIGQUIT", 3), (0, "quit", 3),
    (0, "10", 10), (0, "SIGRTMIN+2", 36), (0, "", 15),
])
def test_the_stop_signal(pod, image, asked, image_says, number):
    """The request's, in the CRI's numbers; else the image's, by name or number; else TERM."""
    config = {"StopSignal": image_says} if image_says else {}
    traps = "".join(f"trap 'echo got {n}; exit 5' {n}; " for n in (1, 3, 10, 15, 36, 37))
    name = image(oci.Layer.of(), **config)
    container = pod.run(["sh", "-c", traps + "echo ready; while :; do sleep 1000 & wait; done"], image=name,
                        stop_signal=asked)
    wait.until(lambda: "ready" in container.log_text(), "the traps")
    container.stop(timeout=20)
    assert container.status().exit_code == 5
    assert f"got {number}\n" in container.log_text()


def test_everything_that_the_container_started_ends_with_it(cri):
    """Also what has left session and parent, and what came by exec, where no PID namespace ends with it."""
    pod = shared(cri)
    watcher = pod.run(SLEEPER, name="watcher")
    container = pod.run(["sh", "-c", "setsid sh -c 'sleep 7654 & sleep 7655' & trap '' TERM; echo ready; wait"])
    wait.until(lambda: "ready" in container.log_text(), "its children")
    execution = Call(container.execute, "sh", "-c", "trap '' TERM; setsid sleep 7656 & sleep 7657", timeout=60)
    wait.until(lambda: all(mark in watcher.shell("ps") for mark in ("7654", "7655", "7656", "7657")), "the four")
    container.stop(timeout=0)
    assert container.status().exit_code == 137
    wait.until(lambda: "765" not in watcher.shell("ps"), "end of the four")
    try:
        assert execution.result().exit_code == 137
    except grpc.RpcError as error:  # where the container's end came first
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION), error


def test_a_frozen_container_is_thawed_and_ends(cri, pod):
    container = pod.run(SLEEPER)
    group = f"{cri.cgroup_parent.strip('/')}/{container.id}"
    switches = [(CGROUPS / "freezer" / group / "freezer.state", "FROZEN"), (CGROUPS / group / "cgroup.freeze", "1"),
                (CGROUPS / "unified" / group / "cgroup.freeze", "1")]
    switch, value = next(pair for pair in switches if pair[0].exists())
    switch.write_text(value)
    wait.until(lambda: switch.read_text().strip() == value, "the container to be frozen")
    container.stop(timeout=1)
    assert container.status().exit_code == 137


def test_a_process_that_cannot_die_is_named(pod):
    """FAULTS F26, with somebody else's freezer in the place of a disk that hangs: the call says who and where, others
    go on, and once it can die the end comes without help."""
    freezer = CGROUPS / "freezer"
    if not freezer.exists():
        pytest.skip("v2 kills what is frozen, and there is no other way to make a process deaf to SIGKILL")
    container, other = pod.run(["sleep", "100000"]), pod.run(SLEEPER, name="other")
    pid = container.info()["pid"]
    group = freezer / f"swiftlet-test-{container.id[:12]}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        wait.until(lambda: (group / "freezer.state").read_text().strip() == "FROZEN", "the process to be frozen")
        stop = Call(pod.client.refused, "StopContainer", container_id=container.id)
        assert other.shell("echo served") == "served\n"
        refused = stop.result()
        assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert f"pid {pid} (sleep) in state D" in refused.text and container.id[:12] in refused.text
        assert container.status().state == pb.CONTAINER_RUNNING and pod.ready
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait.until(lambda: not (group / "cgroup.procs").read_text(), "end of the process")
        group.rmdir()
    assert container.wait().exit_code == 137


def test_stop_of_a_container_that_has_ended_changes_nothing(pod):
    container = pod.run(["sh", "-c", "exit 6"])
    status = container.wait()
    container.stop(timeout=10)
    assert container.status() == status
