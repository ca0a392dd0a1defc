"""CreateContainer, StartContainer, StopContainer, RemoveContainer, ListContainers, ContainerStatus."""

import os
import signal
import threading
import time

import grpc
import pytest

from lib.cri import SLEEPER
from lib.pods import catches
from lib.stubs import pb


def test_a_container_from_creation_to_removal(cri, pod):
    container = pod.create(SLEEPER, labels={"app": "x"}, annotations={"note": "n"})
    status = container.status()
    assert status.state == pb.CONTAINER_CREATED
    assert status.created_at > 0 and status.started_at == 0 and status.finished_at == 0
    before = time.time_ns()
    container.start()
    status = container.status()
    assert status.state == pb.CONTAINER_RUNNING
    assert before <= status.started_at <= time.time_ns() and status.finished_at == 0
    catches(container, signal.SIGTERM)
    container.stop(timeout=10)
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED
    assert status.exit_code == 0 and status.reason == "Completed"
    assert status.finished_at >= status.started_at
    container.remove()
    assert cri.refused("ContainerStatus", container_id=container.id).code == grpc.StatusCode.NOT_FOUND
    container.remove()  # twice is success


def test_status_and_list_say_what_was_asked_for(cri, pod):
    image = cri.image_status("busybox")
    container = pod.create(["true"], labels={"app": "x"}, annotations={"note": "n"})
    status = container.status()
    assert status.metadata == container.config.metadata
    assert status.labels == container.config.labels
    assert status.annotations == container.config.annotations
    assert status.image.image == "docker.io/library/busybox:latest"
    assert status.image_ref and status.image_id == image.id
    assert status.log_path == container.log_path
    (listed,) = cri.containers()
    assert listed.id == container.id and listed.pod_sandbox_id == pod.id
    assert listed.state == pb.CONTAINER_CREATED and listed.image_id == image.id
    assert listed.labels == container.config.labels and listed.metadata == container.config.metadata
    assert listed.created_at == status.created_at


def test_list_filters(cri):
    first, second = cri.run_pod(), cri.run_pod()
    one = first.create(["true"], name="one", labels={"app": "a"})
    two = first.run(SLEEPER, name="two", labels={"app": "b"})
    three = second.create(["true"], name="three", labels={"app": "a"})

    def listed(**filter):
        return {container.id for container in cri.containers(**filter)}

    assert listed() == {one.id, two.id, three.id}
    assert listed(pod_sandbox_id=first.id) == {one.id, two.id}
    assert listed(label_selector={"app": "a"}) == {one.id, three.id}
    assert listed(label_selector={"app": "a"}, pod_sandbox_id=second.id) == {three.id}
    assert listed(state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING)) == {two.id}
    assert listed(pod_sandbox_id="f" * 64) == set()


def test_start_twice_is_refused(pod):
    container = pod.run(SLEEPER)
    assert container.start_refused().code == grpc.StatusCode.FAILED_PRECONDITION
    container.stop()
    assert container.start_refused().code == grpc.StatusCode.FAILED_PRECONDITION


def test_exactly_one_of_many_starts_wins(cri, pod):
    container, codes = pod.create(SLEEPER), []

    def start():
        try:
            container.start()
            codes.append("started")
        except grpc.RpcError as error:
            codes.append(error.code())

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count("started") == 1, codes
    assert codes.count(grpc.StatusCode.FAILED_PRECONDITION) == 5, codes


def test_stop_of_a_container_that_ignores_term_kills_it_after_the_grace(pod):
    container = pod.run(["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait; done"])
    began = time.monotonic()
    container.stop(timeout=1)
    assert 0.9 <= time.monotonic() - began < 30
    assert container.status().exit_code == 137


def test_stop_without_grace_kills_at_once(pod):
    container = pod.run(["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait; done"])
    began = time.monotonic()
    container.stop(timeout=0)
    assert time.monotonic() - began < 9  # the least grace that anybody gives otherwise is 10 s
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED and status.exit_code == 137


def test_stop_of_a_created_container_changes_nothing(pod):
    container = pod.create(["true"])
    container.stop()
    assert container.status().state == pb.CONTAINER_CREATED


@pytest.mark.parametrize("method", ["StopContainer", "RemoveContainer"])
def test_stop_and_remove_of_an_unknown_container_succeed(cri, method):
    cri.call(method, container_id="0" * 64)


def test_remove_of_a_running_container_ends_it(cri, pod):
    container = pod.run(SLEEPER)
    container.remove()
    assert not cri.containers()
    assert os.path.exists(container.log_path)  # kubelet owns the log


def test_the_stop_signal_of_the_request_wins(pod):
    container = pod.run(
        ["sh", "-c", "trap 'exit 3' USR1; trap 'exit 4' TERM; while :; do sleep 1000 & wait; done"],
        stop_signal=pb.SIGNAL_SIGUSR1)
    assert container.status().stop_signal == pb.SIGNAL_SIGUSR1
    catches(container, signal.SIGUSR1)
    container.stop(timeout=10)
    assert container.status().exit_code == 3


def test_the_default_stop_signal_is_term(pod):
    assert pod.create(["true"]).status().stop_signal == pb.SIGNAL_SIGTERM


def test_a_removed_container_leaves_its_name_free(pod):
    config = pod.container_config(["true"])
    first = pod.create(config=config)
    first.remove()
    assert pod.create(config=config).id != first.id


def test_containers_do_not_share_their_root(pod):
    first = pod.run(SLEEPER, name="first")
    first.shell("echo mine > /only-here")
    second = pod.run(SLEEPER, name="second")
    assert second.execute("test", "-e", "/only-here").exit_code == 1
    assert second.shell("ls /") == pod.output("ls /")
