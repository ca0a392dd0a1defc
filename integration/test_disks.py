"""A disk that refuses records for good or for a while (FAULTS F18, F19): what is there can be ended and removed,
nothing new is made, Status says so, and nothing is wrong afterwards."""

import contextlib
import signal
import sqlite3

import grpc

from lib import wait
from lib.census import Census
from lib.disks import Ext4, full, give_back, tmpfs
from lib.pods import catches
from lib.stubs import pb

DEAF = ["sleep", "100000"]  # as process 1 is to TERM
POLITE = ["sh", "-c", "trap 'exit 7' TERM; sleep 100000 & wait"]
KILLED = (pb.CONTAINER_EXITED, 137, "Error")


def outcome(container) -> tuple:
    status = container.status()
    return (status.state, status.exit_code, status.reason)


def conditions(cri) -> dict:
    return {item.type: item for item in cri.call("Status").status.conditions}


def programs(census: Census) -> list[str]:
    return sorted(name for _, name, state in census.owned() if state != "Z")


def recorded(daemon) -> tuple[set, set, set]:
    """What the database has: sandboxes, containers, and sandboxes with an address."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.root / 'state.db'}?mode=ro", uri=True)) as database:
        return tuple({id for (id,) in database.execute(f"SELECT {column} FROM {table}")} for column, table in (
            ("id", "sandboxes"), ("id", "containers"), ("sandbox", "leases")))


@contextlib.contextmanager
def three_pods(daemon, archives):
    """Starts the daemon with three pods, a container in each; all of it is gone afterwards, and so is the daemon."""
    cri = daemon.client
    try:
        daemon.start().prepare(archives)
        pods = [cri.run_pod() for _ in range(3)]
        yield pods, [pod.run(DEAF) for pod in pods]
    finally:
        if daemon.alive:
            cri.remove_all()
            daemon.terminate()


def refuses_what_is_new(cri, pod) -> None:
    for refused in (cri.refused("RunPodSandbox", config=cri.pod_config()), pod.create_refused(DEAF, name="new")):
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED and "state.db" in refused.text, refused.text
    found = conditions(cri)
    assert found["RuntimeReady"].status  # kubelet ends nothing without it
    network = found["NetworkReady"]
    assert not network.status and network.reason == "RecordsNotWritable" and "state.db" in network.message


def test_on_a_disk_that_turns_read_only_all_can_be_ended_and_removed(make_daemon, archives):
    daemon = make_daemon(start=False)
    cri, census = daemon.client, Census(daemon)
    disk = Ext4(daemon.root, daemon.base / "disk")
    with contextlib.closing(disk), three_pods(daemon, archives) as (made, containers):
        stopped, removed, kept = made
        created = kept.create(DEAF, name="created")
        disk.fail()
        containers[0].stop()
        assert outcome(containers[0]) == KILLED
        containers[0].remove()
        stopped.stop()
        assert not stopped.ready
        removed.remove()
        assert {pod.id for pod in cri.pods()} == {stopped.id, kept.id}
        assert containers[2].shell("echo fine") == "fine\n" and kept.ready
        refuses_what_is_new(cri, kept)
        refused = created.start_refused()
        assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED and "state.db" in refused.text, refused.text
        kept.stop()
        assert outcome(containers[2]) == KILLED and not programs(census) and not census.cgroups()
        daemon.kill()
        code, output = daemon.run_to_end()
        assert code == 1 and str(daemon.root) in output and ("read-only" in output.lower() or "EROFS" in output), output

        disk.repair()
        daemon.start()
        # Of what was done the records know nothing; of what is the kernel does.
        assert {pod.id for pod in cri.pods()} == {pod.id for pod in made} and not any(pod.ready for pod in made)
        assert {item.state for item in cri.containers()} == {pb.CONTAINER_EXITED, pb.CONTAINER_CREATED}
        assert not recorded(daemon)[2] and conditions(cri)["NetworkReady"].status
        for pod in made:
            pod.remove()
        assert recorded(daemon) == (set(), set(), set()) and not programs(census)
        assert not list((daemon.root / "images" / "snapshots").iterdir())
        assert cri.run_pod(kept.config).run(DEAF).shell("echo new") == "new\n"


def test_ends_that_a_full_disk_refuses_are_written_when_it_takes_them(make_daemon, archives):
    """Without the space that is kept for them."""
    daemon = make_daemon(start=False)
    cri, census = daemon.client, Census(daemon)
    with tmpfs(daemon.root), three_pods(daemon, archives) as (made, containers):
        stopped, removed, kept = made
        polite = kept.run(POLITE, name="polite")
        catches(polite, signal.SIGTERM)
        for name in ("state.db", "state.db-wal"):
            give_back(daemon.root / name)
        with full(daemon.root):
            containers[0].stop()
            assert outcome(containers[0]) == KILLED
            assert not conditions(cri)["NetworkReady"].status  # the disk has refused that, and this is no idle case
            polite.stop(timeout=20)
            told = polite.status()
            assert (told.state, told.exit_code) == (pb.CONTAINER_EXITED, 7)
            daemon.kill()
            daemon.start()
            # The shim has kept the ends for the next daemon.
            wait.until(lambda: outcome(containers[0]) == KILLED, "the end of a container")
            wait.until(lambda: polite.status().finished_at == told.finished_at, "the other end")
            assert polite.status() == told
            stopped.stop()
            containers[0].remove()
            removed.remove()
            assert {pod.id for pod in cri.pods()} == {stopped.id, kept.id} and not stopped.ready
            assert removed.id in recorded(daemon)[0]
            refuses_what_is_new(cri, kept)
        wait.until(lambda: conditions(cri)["NetworkReady"].status, "the disk's word")
        assert recorded(daemon) == ({stopped.id, kept.id}, {containers[2].id, polite.id}, {kept.id})
        daemon.kill()
        daemon.start()
        assert {pod.id: pod.state for pod in cri.pods()} == {
            stopped.id: pb.SANDBOX_NOTREADY, kept.id: pb.SANDBOX_READY}
        assert polite.status() == told and containers[2].shell("echo fine") == "fine\n"
        assert cri.run_pod(removed.config).run(DEAF).shell("echo new") == "new\n"
        cri.remove_all()
        assert not programs(census)
