"""The daemon is killed and started again: no pod notices, nothing is forgotten, nothing is invented."""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import threading
import time

import grpc
import pytest

from lib import wait
from lib.census import Census
from lib.cri import SLEEPER
from lib.stubs import pb

COUNTER = ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done"]
# Waits for a file named after its exit code, then ends with it.
WAITER = ["sh", "-c", "while :; do for c in 0 7 42; do [ -e /volume/$c-$0 ] && exit $c; done; usleep 5000; done"]


@pytest.fixture
def daemon(make_daemon):
    return make_daemon()


def gone(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def assert_contiguous(container) -> int:
    """Every number once, in order; how many."""
    numbers = [int(record.content) for record in container.log()]
    assert numbers == list(range(len(numbers)))
    return len(numbers)


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_pods_and_containers_are_all_there_again(daemon, tmp_path, end):
    cri, census = daemon.client, Census(daemon)
    before = census.take()
    pod, second = cri.run_pod(labels={"app": "x"}), cri.run_pod()
    volume = [pb.Mount(container_path="/volume", host_path=str(tmp_path))]
    counter = pod.run(COUNTER, name="counter")
    waiters = {code: pod.run(WAITER + [str(code)], name=f"waiter-{code}", mounts=volume) for code in (0, 7, 42)}
    staying = second.run(SLEEPER, name="staying")
    created = second.create(["echo", "late"], name="created")
    ended = second.run(["sh", "-c", "exit 3"], name="ended")
    ended.wait()
    stopped = cri.run_pod()
    stopped.stop()
    pids = {c.id: c.info()["pid"] for c in (counter, staying, *waiters.values())}
    pauses = {p.id: p.info()["pid"] for p in (pod, second)}
    shims = set(daemon.shims())
    network = {p.id: p.status().network for p in (pod, second)}
    statuses = {c.id: c.status() for c in (counter, staying, created, ended)}

    if end == "kill":
        daemon.kill()
    else:
        assert daemon.terminate() == 0
    for code, waiter in waiters.items():
        (tmp_path / f"{code}-{code}").touch()
        wait.until(lambda waiter=waiter: gone(pids[waiter.id]), "end of the waiting container")
    lines = len(counter.log())
    wait.until(lambda: len(counter.log()) > lines + 20, "log lines while no daemon runs")
    daemon.start()

    assert {p.id: p.state for p in cri.pods()} == {
        pod.id: pb.SANDBOX_READY, second.id: pb.SANDBOX_READY, stopped.id: pb.SANDBOX_NOTREADY}
    for code, waiter in waiters.items():
        status = waiter.wait()  # its shim tells the new daemon
        assert (status.state, status.exit_code) == (pb.CONTAINER_EXITED, code)
        assert status.reason == ("Error" if code else "Completed")
        assert status.started_at < status.finished_at < time.time_ns()
    for container in (counter, staying, created, ended):
        assert container.status() == statuses[container.id], container.config.metadata.name
    assert {c.id: c.info()["pid"] for c in (counter, staying)} == {c.id: pids[c.id] for c in (counter, staying)}
    assert {p.id: p.info()["pid"] for p in (pod, second)} == pauses
    assert set(daemon.shims()) <= shims
    assert {p.id: p.status().network for p in (pod, second)} == network
    assert pod.status().labels["app"] == "x"

    assert counter.shell("echo in the same container") == "in the same container\n"
    assert created.start().wait().exit_code == 0
    third = cri.run_pod()
    assert third.ip not in {pod.ip, second.ip}
    assert pod.output("echo new") == "new\n"
    counter.stop(0)
    assert assert_contiguous(counter) > lines + 20
    cri.remove_all()
    census.settled(before)


def test_a_pod_whose_shim_died_meanwhile_is_not_ready(daemon):
    cri = daemon.client
    pod = cri.run_pod()
    container = pod.run(SLEEPER)
    daemon.kill()
    pids = [*daemon.shims(), pod_pid(daemon, pod)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        wait.until(lambda pid=pid: gone(pid), "end of the process")
    daemon.start()
    assert not pod.ready
    status = container.status()
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 255, "Unknown")
    pod.stop()
    pod.remove()
    assert not cri.pods()
    wait.until(lambda: not Census(daemon).owned(), "end of all processes")


def pod_pid(daemon, pod) -> int:
    """A pause process found without the daemon."""
    for pid, name, _ in Census(daemon).owned():
        if "pause" in name:
            return pid
    raise AssertionError("no pause process")


def test_a_shim_that_dies_under_a_live_daemon(daemon):
    cri, census = daemon.client, Census(daemon)
    before = census.take()
    pod = cri.run_pod()
    container = pod.run(SLEEPER)
    (shim,) = daemon.shims()
    os.kill(shim, signal.SIGKILL)
    wait.until(lambda: not pod.ready, "the pod to be told not ready")
    status = wait.until(lambda: container.status() if container.status().state == pb.CONTAINER_EXITED else None,
                        "the container to be told exited")
    assert (status.exit_code, status.reason) == (255, "Unknown")
    pod.stop()
    pod.remove()
    census.settled(before)


def test_stop_and_remove_after_a_restart(daemon):
    cri, census = daemon.client, Census(daemon)
    before = census.take()
    pods = [cri.run_pod() for _ in range(5)]
    for pod in pods:
        pod.run(SLEEPER)
    daemon.kill()
    daemon.start()
    cri.remove_all()
    census.settled(before)


def test_one_damaged_record_stops_nobody(daemon):
    import sqlite3

    cri = daemon.client
    pods = [cri.run_pod() for _ in range(3)]
    daemon.kill()
    with contextlib.closing(sqlite3.connect(daemon.root / "state.db")) as database, database:
        tables = [row[0] for row in database.execute("select name from sqlite_master where type='table'")]
        table = next(name for name in tables if "sandbox" in name.lower())
        columns = [(row[1], row[2]) for row in database.execute(f"pragma table_info({table})")]
        blob = next(name for name, kind in columns if kind.upper() in ("BLOB", "TEXT") and name not in ("id", "name"))
        key = columns[0][0]
        database.execute(f"update {table} set {blob} = 'damaged' where {key} = ?", (pods[0].id,))
    daemon.start()
    assert {pods[1].id, pods[2].id} <= {pod.id for pod in cri.pods()}
    assert pods[0].id[:12] in daemon.output.read_text()


@pytest.mark.slow
def test_killed_at_any_moment(daemon):
    """Pods go up and down while the daemon is killed at random times; in the end everything can be removed."""
    cri, census = daemon.client, Census(daemon)
    before = census.take()
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    print("seed", seed)
    stop = threading.Event()

    def churn(number: int) -> None:
        while not stop.is_set():
            try:
                pod = cri.run_pod(timeout=30)
                container = pod.run(SLEEPER)
                container.execute("true")
                container.stop(0)
                pod.stop()
                pod.remove()
            except grpc.RpcError as error:
                assert error.code() in ACCEPTED, f"{error.code()} {error.details()}"

    ACCEPTED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
                grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION}
    threads = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(12):
            stop.wait(dice.uniform(0.02, 0.6))
            daemon.kill()
            daemon.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    addresses = [pod.ip for pod in (cri.pod_status(item.id).network for item in cri.pods()) if pod.ip]
    assert len(set(addresses)) == len(addresses)
    cri.remove_all()
    census.settled(before)


def test_another_boot_means_no_pod_runs(daemon):
    """Records without processes, and an empty /run: every pod not ready, every container ended with 255."""
    cri = daemon.client
    pod = cri.run_pod()
    container = pod.run(SLEEPER)
    daemon.kill()
    for pid, _, _ in Census(daemon).owned():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait.until(lambda: not [p for p in Census(daemon).owned() if p[2] != "Z"], "end of all processes")
    shutil.rmtree(daemon.state)  # /run is empty after a boot
    daemon.start()
    assert not pod.ready
    assert (container.status().exit_code, container.status().reason) == (255, "Unknown")
    cri.remove_all()
    assert not cri.pods()
