"""The races of a container's life, each made a sequence by holding the daemon at a place; and a death at each step."""

import os
import random
import signal

import grpc
import pytest

from lib import pods, wait
from lib.census import Census
from lib.cri import SLEEPER
from lib.failpoints import Call, Gate, arm, held
from lib.stubs import pb

STATE = grpc.StatusCode.FAILED_PRECONDITION


def programs_of(census: Census) -> list[str]:
    """What runs beside shim and pause."""
    own = ("swiftlet-shim", "swiftlet-pause")
    return [name for _, name, state in census.owned() if state != "Z" and name not in own]


def test_stop_during_start(victim, census):
    with held(victim, "start.record") as gate:
        container = victim.client.run_pod().create(SLEEPER)
        start = Call(container.start)
        gate.reached()
        stop = Call(container.stop)
        gate.open()
        start.result()
        stop.result()
        status = container.status()
        assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 137, "Error")
        assert 0 < status.started_at <= status.finished_at
        assert not programs_of(census)


def test_remove_during_start(victim, census):
    with held(victim, "start.record") as gate:
        pod = victim.client.run_pod()
        container = pod.create(SLEEPER)
        start = Call(container.start)
        gate.reached()
        remove = Call(container.remove)
        gate.open()
        start.result()
        remove.result()
        assert not victim.client.containers() and not programs_of(census)


def test_start_during_removal(victim, census):
    """The removal has looked, found nothing that runs, and nothing may begin to run behind its back."""
    with held(victim, "discard.layer") as gate:
        container = victim.client.run_pod().create(SLEEPER)
        remove = Call(container.remove)
        gate.reached()
        refused = container.start_refused()
        assert refused.code == STATE and "is being removed" in refused.text
        gate.open()
        remove.result()
        assert not victim.client.containers() and not programs_of(census)


def test_the_pod_stops_while_a_container_is_made(victim, census):
    """What is made behind the back of a stop would never be ended."""
    with held(victim, "create.record") as gate:
        pod = victim.client.run_pod()
        create = Call(pod.create, SLEEPER)
        gate.reached()
        pod.stop()
        gate.open()
        with pytest.raises(grpc.RpcError) as caught:
            create.result()
        assert caught.value.code() == STATE and pod.id[:12] in caught.value.details()
        assert not victim.client.containers()


@pytest.mark.parametrize("place", ["start.process", "start.record"])
def test_the_pod_stops_while_a_container_starts(victim, census, place):
    """Before the shim knows of it, and when its program runs and nobody has been told."""
    with held(victim, place) as gate:
        pod = victim.client.run_pod()
        container = pod.create(SLEEPER)
        start = Call(container.start)
        gate.reached()
        stop = Call(pod.stop)
        wait.until(lambda: not pod.ready, "the stop to have begun")
        wait.until(lambda: "swiftlet-pause" not in [name for _, name, state in census.owned() if state != "Z"],
                   "end of pause")
        gate.open()
        stop.result()
        status = container.status()
        if place == "start.process":
            with pytest.raises(grpc.RpcError) as caught:
                start.result()
            assert caught.value.code() in (STATE, grpc.StatusCode.UNAVAILABLE)
            assert (status.exit_code, status.reason, status.started_at) == (128, "StartError", 0)
        else:
            start.result()
            assert (status.exit_code, status.reason) == (137, "Error")
            assert 0 < status.started_at <= status.finished_at
        assert status.state == pb.CONTAINER_EXITED and not census.owned()


def test_the_end_comes_before_the_answer_to_start(victim, census, tmp_path):
    with held(victim, "start.record") as gate:
        container = victim.client.run_pod().create(
            ["sh", "-c", "touch /volume/ran; exit 7"],
            mounts=[pb.Mount(container_path="/volume", host_path=str(tmp_path))])
        start = Call(container.start)
        gate.reached()
        wait.until(lambda: (tmp_path / "ran").exists() and not programs_of(census), "end of the program")
        assert container.status().state == pb.CONTAINER_CREATED
        gate.open()
        start.result()
        status = container.wait()
        assert (status.exit_code, status.reason) == (7, "Error")
        assert 0 < status.started_at <= status.finished_at


def test_a_start_that_cannot_be_recorded_leaves_no_process(victim, census):
    arm(victim, "start.record=error:ENOSPC")
    container = victim.client.run_pod().create(SLEEPER)
    refused = container.start_refused()
    assert "start.record" in refused.text
    assert not programs_of(census)
    status = container.status()
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 128, "StartError")
    arm(victim)


def test_an_end_that_cannot_be_recorded_is_not_told_and_not_forgotten(victim, census):
    """The shim keeps it until it is on disk: a client never sees what the next daemon would not know."""
    arm(victim, "exit.record=error:ENOSPC")
    container = victim.client.run_pod().run(["sh", "-c", "exit 3"])
    wait.until(lambda: "an exit could not be recorded" in victim.tail(50), "the refusal of the disk")
    assert container.status().state == pb.CONTAINER_RUNNING
    arm(victim)
    status = container.wait()
    assert (status.exit_code, status.reason) == (3, "Error")
    arm(victim)
    assert container.status() == status


def test_an_older_state_is_never_written_over_a_newer_one(victim, census):
    """Who has noted the end of pause comes to the disk when StopPodSandbox has been there: the address stays free."""
    gate = Gate(victim, "pause.record")
    arm(victim, gate.point)
    pod = victim.client.run_pod()
    os.kill(pod.info()["pid"], signal.SIGKILL)
    gate.reached()
    pod.stop()
    assert not pods.leased(victim)
    gate.open()
    wait.until(lambda: b"pause has ended" in victim.output.read_bytes()[gate.start:], "the write of what was first")
    victim.kill()
    assert not pods.leased(victim)
    arm(victim)
    assert not pod.ready and not pod.status().network.ip


def test_many_calls_at_once_in_any_order(victim, census):
    """FAULTS F35, in small: whatever comes first, each container starts at most once, ends once, is gone when its
    removal has succeeded, and no call fails with anything but the state it met."""
    cri = victim.client
    seed = random.randrange(1 << 30)
    print("seed", seed)
    pod = cri.run_pod()
    for number in range(12):
        dice = random.Random(seed + number)
        container = pod.create(["sleep", "100000"], name=f"c{number}")
        verbs = [container.start] * 3 + [container.stop] * 3 + [container.remove] * 2
        dice.shuffle(verbs)
        codes: list[tuple[str, object]] = []

        def call(verb, codes=codes) -> None:
            try:
                verb()
                codes.append((verb.__name__, "done"))
            except grpc.RpcError as error:
                codes.append((verb.__name__, error.code()))

        for running in [Call(call, verb) for verb in verbs]:
            running.result()
        assert codes.count(("start", "done")) <= 1, (seed, number, codes)
        assert {code for name, code in codes if name != "start"} == {"done"}, (seed, number, codes)
        assert {code for name, code in codes if name == "start"} <= {"done", STATE, grpc.StatusCode.NOT_FOUND}, codes
        assert not cri.containers(), (seed, number)
        assert not programs_of(census), (seed, number)


PLACES = ["create.record", "create.answer", "start.intent", "start.cgroup", "start.process", "start.record",
          "start.answer", "end.signal", "end.kill", "exit.record", "discard.layer", "discard.record", "discard.answer"]


def test_death_at_every_step_of_a_containers_life(victim, census):
    """Whatever the place, the next daemon and the client's usual retries lead to the end that was asked for."""
    cri = victim.client
    for place in PLACES:
        arm(victim, f"{place}=kill")
        pod = cri.run_pod()
        config = pod.container_config(["sleep", "100000"])  # deaf to TERM, as process 1 is

        def life(pod=pod, config=config, grace=place.startswith("end.")) -> None:
            container = pod.create(config=config).start()
            container.stop(timeout=int(grace))
            container.remove()

        with pytest.raises(grpc.RpcError) as caught:
            life()
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), (place, caught.value)
        assert victim.process.wait(60) == -9, victim.tail()
        arm(victim)
        assert pod.ready, place
        container = pod.create(config=config)  # the same one, or a new one under its name
        if place == "exit.record":
            container.wait()  # its shim tells the new daemon, which serves already
        if container.status().state == pb.CONTAINER_CREATED:
            container.start()
        if container.status().state == pb.CONTAINER_RUNNING:
            assert container.shell("echo $HOSTNAME") == f"{pod.config.hostname}\n", place
        container.stop()
        status = container.status()
        assert status.state == pb.CONTAINER_EXITED and status.exit_code == 137, (place, status)
        assert 0 < status.started_at <= status.finished_at, (place, status)
        container.remove()
        assert not cri.containers() and not programs_of(census), place
        pod.remove()
