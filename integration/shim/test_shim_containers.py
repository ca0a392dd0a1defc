"""Starts, exits and kills."""

import os
import pathlib
import signal
import time

import pytest

from lib import wait
from pod import CONTAINER, NODE, POD, TARGET
from ttrpc import ShimError, pb

NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, INTERNAL = 5, 6, 9, 13


@pytest.mark.parametrize("script, code", [
    ("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$; exit 4", 4),
])
def test_exit_code(pod, script, code):
    started = pod.run("c", script)
    exit = pod.wait_exit("c")
    assert exit.exit_code == code
    assert not exit.oom_killed
    assert 0 < started.started_at <= exit.finished_at


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed(shim, number):
    pod = shim.start(pid=POD)
    pod.run("c", "exec sleep 1000")
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=number))
    assert pod.wait_exit("c").exit_code == 128 + number


def test_kill_is_idempotent_and_names_the_unknown(pod):
    pod.run("c", "true")
    pod.wait_exit("c")
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=15))
    with pytest.raises(ShimError) as error:
        pod.client.call("Kill", pb.KillRequest(container_id="other", signal=15))
    assert error.value.code == NOT_FOUND and "other" in error.value.message


def test_no_state_is_without_a_container_until_its_exit_is_told(pod):
    """While it runs, while its output is still held by somebody else, and afterwards. The second may be over before a
    busy machine lets us look, since nobody holds up an exit for long: then once more."""
    for number in range(10):
        if "ending" in states_until_exit(pod, f"c{number}"):
            return
    raise AssertionError("never seen between its end and its exit")


def states_until_exit(pod, name):
    started = pod.run(name, "while [ ! -e /tmp/end ]; do usleep 1000; done; exit 7")
    held = os.open(f"/proc/{started.pid}/fd/1", os.O_WRONLY)
    (pathlib.Path(f"/proc/{started.pid}/root/tmp/end")).touch()
    seen = set()

    def exited() -> bool:
        state = pod.client.call("State")
        tasks, exits = [task.container_id for task in state.tasks], [exit.container_id for exit in state.exits]
        assert tasks + [exit for exit in exits if exit == name] == [name]
        seen.add("ending" if tasks and state.tasks[0].pid <= 0 else "running" if tasks else "exit")
        assert {task.started_at for task in state.tasks} <= {started.started_at}
        return not tasks

    wait.until(exited, "exit", 60)
    os.close(held)
    assert pod.wait_exit(name).exit_code == 7
    return seen


def test_kill_all(pod):
    pod.run("c", "trap 'exit 3' TERM; sleep 1000 & echo ready; wait")
    pod.wait_log("c", "ready")
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=15, all=True))
    assert pod.wait_exit("c").exit_code in (3, 143)


def test_two_of_one_name(pod):
    pod.run("c", "sleep 1000")
    with pytest.raises(ShimError) as error:
        pod.run("c", "true")
    assert error.value.code == ALREADY_EXISTS
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
    pod.wait_exit("c")
    pod.run("c", "exit 5")
    assert [exit.exit_code for exit in pod.exits(1)] == [5]


def test_start_failure_is_typed_and_leaves_nothing(pod):
    request = pod.container_request("c", ["/nonexistent"])
    with pytest.raises(ShimError) as error:
        pod.client.call("Start", request)
    assert error.value.code == INTERNAL
    assert error.value.failure.errno == 2
    assert "/nonexistent" in error.value.message
    assert not pod.client.call("State").tasks
    assert not pod.client.call("State").exits
    assert pod.groups[-1].processes() == []
    pod.run("c", "exit 4")
    assert pod.wait_exit("c").sequence == 1


def test_a_life_of_a_millisecond(pod):
    """Start answers before the exit, and no exit is lost (FAULTS F24)."""
    for index in range(50):
        name = f"c{index}"
        request = pod.container_request(name, ["true"])
        started = pod.client.call("Start", request)
        (exit,) = pod.exits(index)
        assert (exit.container_id, exit.exit_code, exit.sequence) == (name, 0, index + 1)
        assert started.started_at <= exit.finished_at


def test_exit_while_nobody_is_connected(pod):
    pid = pod.run("c", "while [ ! -e /tmp/go ]; do usleep 1000; done; echo late; exit 9").pid
    pod.client.close()
    pod.client = pod.connect()
    state = pod.client.call("State")
    assert [task.container_id for task in state.tasks] == ["c"]
    pod.client.close()
    pathlib.Path(f"/proc/{pid}/root/tmp/go").touch()
    wait.until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "end of the process", 60)
    pod.client = pod.connect()
    assert pod.wait_exit("c").exit_code == 9
    assert pod.client.call("State").exits[0].exit_code == 9
    assert pod.log("c") == [("stdout", "F", "late")]


def test_exits_are_kept_until_acknowledged(pod):
    for name in ("a", "b", "c"):
        pod.run(name, "exit 1")
        last = pod.wait_exit(name)
    # One that has ended before it is waited for comes together with the one before, which is then not acknowledged yet.
    assert [exit.container_id for exit in pod.exits(last.sequence - 1)] == ["c"]
    pod.client.close()
    pod.client = pod.connect()
    assert [exit.container_id for exit in pod.client.call("State").exits] == ["c"]


def test_out_of_memory_is_decided_before_the_exit(pod):
    request = pod.container_request("c", ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=60M"])
    pod.groups[-1].limit_memory(15 << 20)
    pod.client.call("Start", request)
    exit = pod.wait_exit("c")
    assert (exit.exit_code, exit.oom_killed) == (137, True)


def test_a_kill_alone_is_not_out_of_memory(pod):
    pod.run("c", "sleep 1000")
    pod.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
    assert not pod.wait_exit("c").oom_killed


@pytest.mark.parametrize("mode", [POD, NODE])
def test_shared_pid_namespace_leaves_nothing_behind(shim, mode):
    shim.start(pid=mode)
    shim.run("c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & setsid sleep 1001 & sleep 0.1; exit 2")
    group = shim.groups[-1]
    assert shim.wait_exit("c").exit_code == 2
    wait.until(lambda: not group.processes(), "end of all processes", 60)
    children = pathlib.Path(f"/proc/{shim.process.pid}/task/{shim.process.pid}/children")
    alone = [str(shim.response.pause_pid)]
    wait.until(lambda: children.read_text().split() == alone, "orphans are reaped by the shim", 60)


def test_target_pid_namespace(pod):
    pod.run("a", "sleep 1000")
    pod.run("b", "kill -9 1; ps; sleep 1000", namespaces=pb.Namespaces(pid=TARGET, target_id="a"))
    pids = {task.container_id: task.pid for task in pod.client.call("State").tasks}
    assert os.readlink(f"/proc/{pids['a']}/ns/pid") == os.readlink(f"/proc/{pids['b']}/ns/pid")
    with pytest.raises(ShimError) as error:
        pod.run("c", "true", namespaces=pb.Namespaces(pid=TARGET, target_id="other"))
    assert error.value.code == NOT_FOUND
    pod.client.call("Kill", pb.KillRequest(container_id="a", signal=9))
    assert pod.wait_exit("b").exit_code == 137


def test_stdin(pod):
    pod.run("c", "cat; echo end")
    pod.wait_exit("c")
    assert pod.log("c") == [("stdout", "F", "end")]
    pod.run("d", "cat; echo end", stdin=True)
    pod.client.call("Kill", pb.KillRequest(container_id="d", signal=9))
    assert pod.wait_exit("d").exit_code == 137


def test_stop_sandbox_ends_all(pod):
    for index in range(3):
        pod.run(f"c{index}", "trap '' TERM; sleep 1000 & sleep 1001")
    stream = pod.client.begin("ExecSync", pod.exec_request("c0", "sleep 1002"))
    pod.client.call("StopSandbox")
    for group in pod.groups:
        assert group.processes() == []
    exits = pod.client.call("State").exits
    assert sorted(exit.container_id for exit in exits) == ["", "c0", "c1", "c2"]
    assert {exit.exit_code for exit in exits} == {137}
    assert pod.client.finish(stream).exit_code == 137
    with pytest.raises(ShimError) as error:
        pod.run("d", "true")
    assert error.value.code == FAILED_PRECONDITION


def test_output_held_open_by_a_stranger(pod):
    """A process outside of the container's cgroup and namespaces holds its stdout: the exit comes all the same."""
    pod.run("c", "echo one; sleep 1000")
    pid = pod.client.call("State").tasks[0].pid
    held = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
    try:
        began = time.monotonic()
        pod.client.call("Kill", pb.KillRequest(container_id="c", signal=9))
        assert pod.wait_exit("c").exit_code == 137
        assert 0.5 < time.monotonic() - began, "it had its time"
    finally:
        os.close(held)
