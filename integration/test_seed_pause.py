"""The seed document's hidden pause container, sentence by sentence; `SEED` in test_seed.py names each one's test."""

import contextlib
import os
import pathlib
import re
import signal

import grpc

from lib import wait
from lib.cri import SLEEPER
from lib.pods import addresses, cpu_ticks, fetch, leased, serve, started, stat
from lib.swiftlet import Swiftlet


def test_pause_holds_the_network_namespace(cri, daemon):
    """No mount, no name and no descriptor of the daemon's: the process alone."""
    pod = cri.run_pod()
    pause = pod.info()["pid"]
    space = os.readlink(f"/proc/{pause}/ns/net")
    # Who made it lets it go a moment after the answer.
    wait.until(lambda: holders(space) == {pause}, "namespace in nobody else's hands")
    assert space[5:-1] not in pathlib.Path("/proc/self/mountinfo").read_text()


def holders(space: str) -> set[int]:
    found = set()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        links = [f"/proc/{pid}/ns/net"]
        with contextlib.suppress(OSError):
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        for link in links:
            with contextlib.suppress(OSError):
                if os.readlink(link) == space:
                    found.add(pid)
    return found


def test_pause_gets_started_first_and_falls_asleep(cri):
    pod = cri.run_pod()
    pause = pod.info()["pid"]
    assert pathlib.Path(f"/proc/{pause}/comm").read_text() == "swiftlet-pause\n"
    containers = [pod.run(SLEEPER, name=f"c{number}") for number in range(3)]
    assert all(started(pause) <= started(container.info()["pid"]) for container in containers)
    wait.until(lambda: stat(pause)[0] == "S", "sleep")
    call = int(pathlib.Path(f"/proc/{pause}/syscall").read_text().split()[0])
    assert call in (34, 130, 128, 281), f"pause sleeps in system call {call}"  # pause, rt_sig(timed)wait, epoll_pwait
    before, switches = cpu_ticks(pause), voluntary(pause)
    containers[0].shell("for i in $(seq 50000); do :; done")
    assert cpu_ticks(pause) == before <= 10
    assert voluntary(pause) == switches  # it was not woken once


def voluntary(pid: int) -> int:
    """How often a process was woken."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M)[1])


def test_pause_is_still_there_when_the_other_containers_die(cri):
    pod = cri.run_pod()
    before = pod.info()["pid"], addresses(pod)
    space = os.readlink(f"/proc/{before[0]}/ns/net")
    for number in range(3):
        container = pod.run(SLEEPER, name=f"c{number}")
        os.kill(container.info()["pid"], signal.SIGKILL)
        assert container.wait().exit_code == 137
    assert (pod.info()["pid"], addresses(pod)) == before
    assert os.readlink(f"/proc/{before[0]}/ns/net") == space
    assert pod.ready
    serve(pod, "[::]:8080")  # and the network it holds still works
    assert fetch(cri.run_pod().run(SLEEPER), pod.ip, 8080) == "page\n"


def test_without_pause_the_namespace_is_gone(cri, daemon):
    pod, witness = cri.run_pod(), cri.run_pod()
    link, own = pod.info()["hostInterface"], addresses(pod)
    os.kill(pod.info()["pid"], signal.SIGKILL)
    wait.until(lambda: not pod.ready, "the pod to be told not ready")
    wait.until(lambda: link not in daemon.node.inside.links(), "end of the link, which its namespace takes along")
    assert pod.status().network.ip == ""
    assert pod.create_refused(["true"]).code == grpc.StatusCode.FAILED_PRECONDITION
    pod.stop()
    assert not set(own) & set(leased(daemon)) and set(addresses(witness)) <= set(leased(daemon))
    pod.remove()
    assert [found.id for found in cri.pods()] == [witness.id]


def test_a_listing_shows_pause(cri, daemon, programs, tmp_path):
    pod = cri.run_pod()
    pod.run(SLEEPER)
    swiftlet = Swiftlet(programs / "swiftlet", daemon, tmp_path)
    pause = str(pod.info()["pid"])
    assert "pause" not in swiftlet("ps")
    (line,) = [line for line in swiftlet("ps", "--pause").splitlines() if "pause" in line and "PAUSE" not in line]
    assert pause in line and "Running" in line and pod.config.metadata.name in line
    (found,) = swiftlet.json("pods")
    assert str(found["pausePid"]) == pause
    assert pause in next(line for line in swiftlet("pods").splitlines() if pod.config.metadata.name in line)
