"""RunPodSandbox, PodSandboxStatus, ListPodSandbox, StopPodSandbox, RemovePodSandbox."""

import threading
import time
import uuid

import grpc
import pytest

from lib.stubs import pb


def test_a_pod_comes_up_ready_and_listed(cri):
    config = cri.pod_config(
        labels={"webserver": "nginx:1.21", "app": "x"}, annotations={"a.example/b": "any text, \u00fc too"})
    before = time.time_ns()
    pod = cri.run_pod(config)
    status = pod.status()
    assert status.id == pod.id and len(pod.id) == 64 and set(pod.id) <= set("0123456789abcdef")
    assert status.state == pb.SANDBOX_READY
    assert before <= status.created_at <= time.time_ns()
    assert status.metadata == config.metadata
    assert status.labels == config.labels
    assert status.annotations == config.annotations
    assert status.linux.namespaces.options.pid == pb.CONTAINER
    assert status.network.ip
    (listed,) = cri.pods()
    assert (listed.id, listed.state, listed.metadata) == (pod.id, pb.SANDBOX_READY, config.metadata)
    assert listed.labels == config.labels and listed.annotations == config.annotations
    assert listed.created_at == status.created_at


def test_a_pod_with_metadata_alone_is_enough(cri):
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name="bare", namespace="default", uid="u"))
    pod = cri.run_pod(config)
    assert pod.ready
    assert pod.status().linux.namespaces.options.pid == pb.POD


def test_stop_takes_the_network_and_keeps_the_record(cri):
    pod = cri.run_pod()
    container = pod.run(["sleep", "1000"])
    pod.stop()
    status = pod.status()
    assert status.state == pb.SANDBOX_NOTREADY
    assert not status.network.ip
    ended = container.status()
    assert ended.state == pb.CONTAINER_EXITED and ended.exit_code == 137
    pod.stop()  # twice is success
    pod.remove()
    assert not cri.pods() and not cri.containers()


def test_remove_needs_no_stop_before_it(cri):
    pod = cri.run_pod()
    pod.run(["sleep", "1000"])
    pod.remove()
    assert cri.refused("PodSandboxStatus", pod_sandbox_id=pod.id).code == grpc.StatusCode.NOT_FOUND
    pod.remove()  # twice is success


@pytest.mark.parametrize("method", ["StopPodSandbox", "RemovePodSandbox"])
def test_stop_and_remove_of_an_unknown_pod_succeed(cri, method):
    cri.call(method, pod_sandbox_id="0" * 64)


def test_list_filters_are_joined_by_and(cri):
    first = cri.run_pod(labels={"app": "a", "tier": "x"})
    second = cri.run_pod(labels={"app": "b", "tier": "x"})
    third = cri.run_pod(labels={"app": "a", "tier": "y"})
    third.stop()

    def listed(**filter):
        return {pod.id for pod in cri.pods(**filter)}

    assert listed() == {first.id, second.id, third.id}
    assert listed(label_selector={"tier": "x"}) == {first.id, second.id}
    assert listed(label_selector={"tier": "x", "app": "b"}) == {second.id}
    assert listed(label_selector={"tier": ""}) == set()
    assert listed(id=first.id) == {first.id}
    assert listed(id=first.id[:16]) == {first.id}
    assert listed(id="f" * 64) == set()
    assert listed(state=pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)) == {third.id}
    assert listed(id=first.id, label_selector={"app": "b"}) == set()


def test_verbose_status_tells_the_pid_of_pause(cri):
    info = cri.run_pod().info()
    assert info["pid"] > 0


def test_stop_and_remove_at_once_do_not_fail(cri):
    pod = cri.run_pod()
    pod.run(["sleep", "1000"])
    errors = []

    def call(method):
        try:
            cri.call(method, pod_sandbox_id=pod.id)
        except grpc.RpcError as error:
            errors.append((method, error.code(), error.details()))

    threads = [threading.Thread(target=call, args=(method,))
               for method in ["StopPodSandbox", "RemovePodSandbox"] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not cri.pods()


def test_names_differ_by_attempt_uid_and_namespace(cri):
    base = dict(name="same", namespace="one", uid=str(uuid.uuid4()), attempt=0)
    variants = [base, {**base, "attempt": 1}, {**base, "namespace": "two"}, {**base, "uid": "other"}]
    pods = [cri.run_pod(metadata=pb.PodSandboxMetadata(**variant)) for variant in variants]
    assert len({pod.id for pod in pods}) == 4


def test_a_name_is_free_again_after_removal(cri):
    config = cri.pod_config()
    first = cri.run_pod(config)
    first.remove()
    assert cri.run_pod(config).id != first.id
