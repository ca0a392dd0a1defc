"""What a shim is by itself, whoever has started it, and what it passes on."""

import errno
import os
import pathlib
import signal

import pytest

from child import deny, status_of, usual
from pod import Pod

KILL_PROCESS = 0x80000000


@pytest.fixture
def careless():
    """A shim whose parent left descriptors of the node open, pinned itself to a CPU and has a coarse timer."""
    extra = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for descriptor in extra:
        os.set_inheritable(descriptor, True)
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    slack = pathlib.Path("/proc/self/timerslack_ns")
    before = slack.read_text()
    slack.write_text("7000000")
    try:
        pod = Pod()
    finally:
        slack.write_text(before)
        os.sched_setaffinity(0, cpus)
        for descriptor in extra:
            os.close(descriptor)
    yield pod.start()
    pod.close()


def test_nothing_of_its_parents_is_kept_or_passed_on(careless):
    pid = careless.process.pid
    careless.client.call("State")  # by then it is through with what it has told
    held = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    root = os.stat("/")
    assert not [name for name in held if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), root)], held
    status = status_of(pathlib.Path(f"/proc/{pid}/status").read_text())
    assert int(status["Cpus_allowed"].replace(",", ""), 16).bit_count() >= len(os.sched_getaffinity(0))
    look = "cat /proc/self/timerslack_ns; grep Cpus_allowed_list /proc/self/status"
    careless.client.call("Start", usual(careless, "c", f"{look}; echo ready; sleep 1000"))
    careless.wait_log("c", "ready")
    slack, cpus = careless.execute("c", look).stdout.decode().splitlines()
    assert [record[2] for record in careless.log("c")] == [slack, cpus, "ready"]
    assert (slack, cpus.split()[1]) == ("50000", every_cpu())


def every_cpu() -> str:
    """All that a process may have here, as the kernel lists them, however this one was started."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))
    try:
        return status_of(pathlib.Path("/proc/self/status").read_text())["Cpus_allowed_list"]
    finally:
        os.sched_setaffinity(0, own)


def test_killed_by_its_filter(pod):
    """A seccomp program that kills: SIGSYS, as any other signal."""
    request = usual(pod, "c", "mkdir /x; exit 3")
    number = {"x86_64": 83, "aarch64": 34}[os.uname().machine]
    request.process.argv[:] = [b"mkdir", b"/x"]
    program = deny(number, errno.EPERM)
    request.process.seccomp = program[:20] + KILL_PROCESS.to_bytes(4, "little") + program[24:]
    pod.client.call("Start", request)
    exit = pod.wait_exit("c")
    assert (exit.exit_code, exit.oom_killed) == (128 + signal.SIGSYS, False)
    assert 0 < exit.started_at <= exit.finished_at
