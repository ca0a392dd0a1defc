"""What a daemon finds at its start: damaged records, orphans, a start under way, another boot, a full disk (CRI.md
3.5); and ends that leave nobody behind."""

import base64
import contextlib
import os
import pathlib
import select
import shutil
import signal
import subprocess
import uuid

import grpc
import pytest

from lib import cgroups, pods, records, wait
from lib.census import Census, controllers
from lib.cri import SLEEPER
from lib.disks import full
from lib.failpoints import Call, Gate, arm
from lib.stubs import pb
from lib.trees import below

DEAF = ["sleep", "100000"]  # as process 1 is to TERM
LOST = (pb.CONTAINER_EXITED, 255, "Unknown")


def running(census: Census) -> list[str]:
    return sorted(name for _, name, state in census.owned() if state != "Z")


def told(daemon, start: int) -> str:
    with open(daemon.output, "rb") as output:
        output.seek(start)
        return output.read().decode(errors="replace")


def outcome(container) -> tuple:
    status = container.status()
    return (status.state, status.exit_code, status.reason)


def rubbish(record: dict) -> None:
    """JSON as it should be, and in it a request that is none."""
    record["config"] = base64.b64encode(b"\xff\xff\xff rubbish").decode()


def ports(daemon, number: int) -> list:
    return [pb.PortMapping(container_port=80, host_port=19000 + 10 * daemon.number + number)]


def test_what_has_no_readable_record_is_ended(victim, census):
    """Six pods: of one the row is damaged, of one what it was asked for, of one the row while its shim hangs, of one
    while its shim is dead; one has two damaged containers, and one is none of all that."""
    cri = victim.client
    damaged, senseless, hanging, orphaned, partly, whole = made = [
        cri.run_pod(port_mappings=ports(victim, number)) for number in range(6)]
    for pod in made:
        pod.run(DEAF)
    damaged.run(["sh", "-c", "exit 3"], name="ended").wait()
    damaged.create(DEAF, name="created")
    gone = [partly.run(DEAF, name="damaged"), partly.run(DEAF, name="senseless")]
    left = [partly.run(DEAF, name="left"), partly.run(SLEEPER, name="beside")]
    shims = {pod.id: pod.info()["shimPid"] for pod in made}
    victim.kill()
    os.kill(shims[hanging.id], signal.SIGSTOP)
    os.kill(shims[orphaned.id], signal.SIGKILL)
    for pod in (damaged, hanging, orphaned):
        records.change(victim, "sandboxes", pod.id, lambda record: b"damaged")
    records.change(victim, "sandboxes", senseless.id, rubbish)
    records.change(victim, "containers", gone[0].id, lambda record: b"damaged")
    records.change(victim, "containers", gone[1].id, rubbish)
    log = victim.output.stat().st_size
    victim.start()

    assert {pod.id for pod in cri.pods()} == {partly.id, whole.id} and partly.ready and whole.ready
    assert {c.pod_sandbox_id for c in cri.containers()} == {partly.id, whole.id} and len(cri.containers()) == 4
    wait.until(lambda: sorted(victim.shims()) == sorted([shims[partly.id], shims[whole.id]]), "end of the shims")
    living = sorted(["sleep"] * 4 + ["sh"] + ["swiftlet-pause", "swiftlet-shim"] * 2)
    wait.until(lambda: running(census) == living, "end of the pods")
    for container in left:
        assert container.shell("echo fine") == "fine\n"
    for id in [pod.id for pod in (damaged, senseless, hanging, orphaned)] + [container.id for container in gone]:
        # What is removed of an image store goes in the background.
        wait.until(lambda id=id: not [path for path in census.cgroups() + census.files() if id in path], "end of " + id)
        assert id in told(victim, log)
    assert len(pods.leased(victim)) == 4
    # The names, addresses and host ports are free.
    again = [cri.run_pod(pod.config) for pod in (damaged, senseless, hanging, orphaned)]
    assert not {pod.id for pod in again} & {pod.id for pod in made}
    for container in gone:
        assert partly.create(config=container.config).start().id != container.id
    partly.stop()
    for pod in (partly, whole, *again):
        pod.remove()
    assert not cri.pods() and not running(census)


def test_a_shim_that_is_silent_for_a_while(victim, census):
    """A stalled disk or a busy node holds it up while the daemon is replaced: its pod goes on."""
    pod = victim.client.run_pod()
    container = pod.run(DEAF)
    (shim,) = victim.shims()
    victim.kill()
    log = victim.output.stat().st_size
    os.kill(shim, signal.SIGSTOP)
    try:
        again = Call(victim.start)
        wait.until(lambda: "does not answer yet" in told(victim, log), "the daemon to lose patience")
    finally:
        os.kill(shim, signal.SIGCONT)
    again.result()
    assert pod.ready and container.shell("echo here") == "here\n" and victim.shims() == [shim]
    pod.remove()


def test_records_that_are_lost_altogether(victim, census):
    """The database is set aside: nobody knows of any pod, so that none may be left."""
    cri = victim.client
    pod, other = cri.run_pod(), cri.run_pod()
    for one in (pod, other):
        one.run(DEAF)
    victim.kill()
    for path in victim.root.glob("state.db*"):
        path.write_bytes(b"A" * 8192)
    victim.start()
    assert not cri.pods() and not cri.containers() and not running(census)
    for file in victim.root.glob("*.damaged-*"):
        file.unlink()
    assert cri.run_pod(pod.config).run(DEAF).shell("echo new") == "new\n"


def test_a_record_that_todays_checks_refuse_keeps_its_pod(victim, census):
    """What an earlier daemon has let through: the pod runs on with its address, without what is refused."""
    cri = victim.client
    pod = cri.run_pod(annotations={"kubernetes.io/ingress-bandwidth": "10M"}, port_mappings=ports(victim, 9))
    container, address = pod.run(DEAF), pod.ip
    victim.kill()

    def tightened(record: dict) -> None:
        config = pb.PodSandboxConfig.FromString(base64.b64decode(record["config"]))
        config.port_mappings[0].host_port = 123456
        record["config"] = base64.b64encode(config.SerializeToString()).decode()

    records.change(victim, "sandboxes", pod.id, tightened)
    log = victim.output.stat().st_size
    victim.start()
    assert pod.ready and pod.ip == address and container.shell("echo fine") == "fine\n"
    assert pod.id in told(victim, log) and "host_port" in told(victim, log)


def test_orphaned_directories_that_do_not_go_stop_no_start(victim, census):
    cri = victim.client
    pod = cri.run_pod()
    victim.kill()
    stuck, empty = [victim.state / "pods" / (uuid.uuid4().hex * 2) for _ in range(2)]
    (stuck / "below" / "deep").mkdir(parents=True)
    empty.mkdir()
    log = victim.output.stat().st_size
    victim.start()
    assert pod.ready and stuck.exists() and not empty.exists()
    assert str(stuck) in told(victim, log)
    shutil.rmtree(stuck)


def test_any_file_of_ours_may_be_damaged(make_daemon, archives):
    """FAULTS F16, one after another: the start succeeds, the pod runs on, and there is a new container in it; its image
    may have to be loaded again. The records are another case's."""
    daemon = make_daemon()
    cri, pod = daemon.client, daemon.client.run_pod()
    old = pod.run(DEAF, name="old")

    def ours(path: pathlib.Path) -> bool:
        of_images = {"diff", "fs", "work"}  # what containers see
        return path.is_file() and not of_images & set(path.parts) and not path.name.startswith("state.db")

    files = [path for top in (daemon.root, daemon.state) for path in below(top) if ours(path)]
    assert {"layer.json", "snapshot.json", "lock", "address-cursor", "hosts"} <= {path.name for path in files}
    daemon.kill()
    for number, path in enumerate(files):
        before = path.read_bytes()
        path.write_bytes(b"\xff\x00damaged" * 40)
        daemon.start()
        assert pod.ready and old.shell("echo fine") == "fine\n", path
        cri.load(archives)
        assert pod.run(["true"], name=f"new-{number}").wait().exit_code == 0, path
        daemon.kill()
        path.write_bytes(before)
    daemon.start()


# The kernel's number is the same on all of its architectures that came after it.
SYS_PIDFD_GETFD = 438


def taken_from(pid: int, descriptor: int) -> int:
    """A copy of another process's descriptor (pidfd_getfd(2))."""
    import ctypes

    process = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        copy = libc.syscall(SYS_PIDFD_GETFD, process, descriptor, 0)
        assert copy >= 0, os.strerror(ctypes.get_errno())
        return copy
    finally:
        os.close(process)


def test_a_start_under_way_when_the_daemon_dies(victim, census, tmp_path):
    """The shim gets the dead daemon's request and the next one's question together: the container is RUNNING, or
    CREATED and nothing of it runs, where its start took too long."""
    gate = Gate(victim, "start.process")
    arm(victim, gate.point)
    pod = victim.client.run_pod()
    container = pod.create(DEAF, mounts=[
        pb.Mount(container_path=f"/m/{number}", host_path=str(tmp_path)) for number in range(200)])
    start = Call(container.start)
    gate.reached()
    (shim,) = victim.shims()
    connection, listener = taken_from(shim, 3), taken_from(shim, 4)
    try:
        os.kill(shim, signal.SIGSTOP)
        wait.until(lambda: pods.stat(shim)[0] == "T", "the shim to stop")
        gate.open()
        wait.until(lambda: select.select([connection], [], [], 0)[0], "the request to start")
        victim.kill()
        again = Call(victim.start)
        wait.until(lambda: select.select([listener], [], [], 0)[0], "the next daemon")
    finally:
        os.kill(shim, signal.SIGCONT)
        os.close(connection)
        os.close(listener)
    again.result()
    with pytest.raises(grpc.RpcError):
        start.result()
    if container.status().state == pb.CONTAINER_CREATED:
        wait.until(lambda: running(census) == ["swiftlet-pause", "swiftlet-shim"], "end of what had begun")
        container.start()
    assert container.status().state == pb.CONTAINER_RUNNING and container.shell("echo one") == "one\n"
    container.stop()
    assert outcome(container) == (pb.CONTAINER_EXITED, 137, "Error")
    container.remove()
    wait.until(lambda: running(census) == ["swiftlet-pause", "swiftlet-shim"], "end of the container")


def test_half_a_pod_that_could_not_be_undone_waits_for_its_stop(victim, census):
    """A step fails, and so does the undo: it is listed as not ready (CRI.md 3.1), and goes when it is asked to; or by
    itself with the next daemon."""
    cri = victim.client
    for end in (False, True):
        arm(victim, "run.pause=error:EIO", "stop.cgroups=1*error:EIO")
        config = cri.pod_config()
        assert "run.pause" in cri.refused("RunPodSandbox", config=config).text
        (left,) = cri.pods()
        assert left.state == pb.SANDBOX_NOTREADY and left.metadata == config.metadata
        refused = cri.refused("RunPodSandbox", config=config)
        assert refused.code == grpc.StatusCode.ALREADY_EXISTS and "remove it first" in refused.text
        if end:
            cri.call("StopPodSandbox", pod_sandbox_id=left.id)
            cri.call("RemovePodSandbox", pod_sandbox_id=left.id)
        arm(victim)
        assert not cri.pods() and not running(census) and not pods.leased(victim)
        cri.run_pod(config).remove()


def test_nothing_of_an_earlier_boot_is_alive(victim, census):
    """As after a reboot: other boot id, no process, no group, an empty /run; and of four pods the records."""
    cri = victim.client
    pod, stopped = cri.run_pod(port_mappings=ports(victim, 8)), cri.run_pod()
    running_one, created = pod.run(DEAF), pod.create(DEAF, name="created")
    ended = pod.run(["sh", "-c", "exit 3"], name="ended")
    final = ended.wait()
    stopped.stop()
    half = cri.pod_config()
    arm(victim, "run.ready=kill")
    with pytest.raises(grpc.RpcError):
        cri.run_pod(half)
    assert victim.process.wait(60) == -9
    census.sweep()
    shutil.rmtree(victim.state)
    records.change(victim, "sandboxes", None, lambda record: record.update(bootID=str(uuid.uuid4())))
    assert pods.leased(victim)
    arm(victim)

    assert {item.id: item.state for item in cri.pods()} == dict.fromkeys((pod.id, stopped.id), pb.SANDBOX_NOTREADY)
    assert not pod.status().network.ip and not pods.leased(victim)
    assert "restarted" in pod.info()["reason"]
    assert outcome(running_one) == LOST and "restarted" in running_one.status().message
    assert running_one.status().finished_at >= running_one.status().started_at > 0
    assert created.status().state == pb.CONTAINER_CREATED and ended.status() == final
    assert created.start_refused().code == grpc.StatusCode.FAILED_PRECONDITION
    for config in (half, cri.pod_config(port_mappings=ports(victim, 8))):
        assert cri.run_pod(config).run(DEAF).shell("echo new") == "new\n"
    pod.stop()
    running_one.remove()
    pod.remove()


def test_a_full_disk_hinders_no_end_and_no_start(make_daemon, archives):
    """FAULTS F18: stop and removal are what frees a disk; nothing new is made meanwhile."""
    daemon = make_daemon(start=False)
    cri = daemon.client
    daemon.root.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "none", str(daemon.root)], check=True)
    try:
        daemon.start().prepare(archives)
        census = Census(daemon)
        stopped, kept, removed = [cri.run_pod() for _ in range(3)]
        containers = [pod.run(DEAF) for pod in (stopped, kept, removed)]
        ended = kept.run(["sh", "-c", "exit 3"], name="ended")
        ended.wait()
        with full(daemon.root):
            refused = kept.create_refused(DEAF, name="new")
            assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED and "no space left" in refused.text
            containers[0].stop()
            assert outcome(containers[0]) == (pb.CONTAINER_EXITED, 137, "Error")
            containers[0].remove()
            stopped.stop()
            stopped.remove()
            daemon.kill()
            daemon.start()
            removed.remove()
            assert daemon.terminate() == 0
            daemon.start()
            assert [pod.id for pod in cri.pods()] == [kept.id] and kept.ready
            assert containers[1].shell("echo fine") == "fine\n"
            containers[1].stop()
            ended.remove()
        assert kept.run(DEAF, name="new").shell("echo new") == "new\n"
        kept.remove()
        assert not running(census)
    finally:
        if daemon.alive:
            cri.remove_all()
            daemon.terminate()
        subprocess.run(["umount", str(daemon.root)], check=True)


# RemoveContainer and StopPodSandbox leave nobody behind


def stray(daemon, container) -> subprocess.Popen:
    """A process that nobody knows of in the group of a container."""
    process = subprocess.Popen(DEAF)
    for top in controllers():
        for group in below(top / daemon.base.name, container.id):
            (group / "cgroup.procs").write_text(str(process.pid))
    return process


def test_nobody_outlives_the_group_of_a_removed_container(victim, census, tmp_path):
    """Its first process has ended by itself, and another one is still in its group."""
    waiter = ["sh", "-c", "while [ ! -e /volume/$0 ]; do usleep 5000; done"]
    volume = [pb.Mount(container_path="/volume", host_path=str(tmp_path))]
    pod = victim.client.run_pod()
    containers = [pod.run([*waiter, name], name=name, mounts=volume) for name in ("removed", "stopped")]
    strays = [stray(victim, container) for container in containers]
    for container in containers:
        (tmp_path / container.config.metadata.name).touch()
        container.wait()
    removed, stopped = containers
    removed.remove()
    assert strays[0].wait(60) == -signal.SIGKILL
    assert not [path for path in census.cgroups() if removed.id in path]
    pod.stop()
    assert strays[1].wait(60) == -signal.SIGKILL and not census.cgroups()


def test_a_removal_that_cannot_end_a_process_says_so(victim, census, tmp_path):
    """SIGKILL waits for the thaw on v1; v2's freezer lets it through, and then there is nothing to show."""
    freezer = next((top for top in controllers() if top.name == "freezer"), None)
    pod = victim.client.run_pod()
    container = pod.run(["sh", "-c", "while [ ! -e /volume/end ]; do usleep 5000; done"], mounts=[
        pb.Mount(container_path="/volume", host_path=str(tmp_path))])
    process = stray(victim, container)
    with frozen(freezer / f"{victim.base.name}-frozen", process) if freezer else contextlib.nullcontext():
        (tmp_path / "end").touch()
        container.wait()
        if freezer:
            refused = victim.client.refused("RemoveContainer", container_id=container.id)
            assert container.id in refused.text and str(process.pid) in refused.text
            assert container.status().state == pb.CONTAINER_EXITED
    container.remove()
    assert process.wait(60) == -signal.SIGKILL
    assert not victim.client.containers()


@contextlib.contextmanager
def frozen(group: pathlib.Path, process: subprocess.Popen):
    """A process meanwhile in a group of its own of v1's freezer; with a signal that kills it ends when it thaws."""
    group.mkdir()
    (group / "cgroup.procs").write_text(str(process.pid))
    (group / "freezer.state").write_text("FROZEN")
    try:
        wait.until(lambda: (group / "freezer.state").read_text().strip() == "FROZEN", "the process to be frozen")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        process.kill()
        process.wait(60)
        group.rmdir()


def test_an_update_stands_although_a_score_does_not(victim, census):
    """What the kernel has taken is told, and a later daemon tells the same."""
    arm(victim, "update.score=error:EMFILE")
    container = victim.client.run_pod().run(DEAF)
    change = pb.LinuxContainerResources(cpu_shares=2048, oom_score_adj=700)
    victim.client.call("UpdateContainerResources", container_id=container.id, linux=change)
    assert cgroups.value(victim, container, "cpu", "cpu.shares", "cpu.weight") in ("2048", "174")
    status = container.status()
    assert status.resources.linux.cpu_shares == 2048
    wait.until(lambda: "oom_score_adj 700" in victim.tail(50), "the log of it")
    arm(victim)
    assert container.status() == status


def test_an_exec_of_an_earlier_daemon_is_nobody_elses(victim, census):
    """What has outlived the daemon in a group of its own stays when another command is ended."""
    arm(victim)
    container = victim.client.run_pod().run(DEAF)
    leaves = [cgroups.group(victim, container.id, name) / "exec-1"
              for name in (["memory"] if cgroups.UNIFIED else ["pids", "unified"]) if cgroups.top(name).is_dir()]
    earlier = subprocess.Popen(DEAF)
    try:
        for leaf in leaves:
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text(str(earlier.pid))
        request = pb.ExecSyncRequest(container_id=container.id, cmd=DEAF, timeout=1)
        assert victim.client.refused("ExecSync", request).code == grpc.StatusCode.DEADLINE_EXCEEDED
        groups = leaves[-1].parent
        wait.until(lambda: [path.name for path in groups.glob("exec-*")] == ["exec-1"], "end of the command's group")
        assert earlier.poll() is None
        container.remove()
        assert earlier.wait(60) == -signal.SIGKILL
    finally:
        earlier.kill()
        earlier.wait()
