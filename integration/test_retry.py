"""The same request again: it gets the first attempt's result, as kubelet needs after a timeout."""

import threading

import grpc

from lib import wait


def test_a_second_run_of_the_same_pod_gives_the_same_id(cri):
    config = cri.pod_config()
    assert cri.run_pod(config).id == cri.run_pod(config).id
    assert len(cri.pods()) == 1


def test_the_same_name_with_another_config_is_refused(cri):
    config = cri.pod_config()
    pod = cri.run_pod(config)
    config.labels["changed"] = "yes"
    refused = cri.refused("RunPodSandbox", config=config)
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert pod.id[:12] in refused.text or config.metadata.name in refused.text
    assert len(cri.pods()) == 1


def test_a_retry_after_the_clients_timeout_gets_the_first_attempts_pod(cri):
    config = cri.pod_config()
    timeouts = 0
    for milliseconds in (1, 2, 3, 4, 5):
        try:
            cri.run_pod(config, timeout=milliseconds / 1000)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
            timeouts += 1
    assert timeouts, "no attempt timed out: the case shows nothing"
    first = cri.run_pod(config)
    assert cri.run_pod(config).id == first.id
    assert [pod.id for pod in cri.pods()] == [first.id]


def test_many_at_once_under_one_name_give_one_pod(cri):
    config, ids = cri.pod_config(), []
    threads = [threading.Thread(target=lambda: ids.append(cri.run_pod(config).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8 and len(set(ids)) == 1


def test_a_second_creation_of_the_same_container_gives_the_same_id(cri, pod):
    config = pod.container_config(["true"])
    assert pod.create(config=config).id == pod.create(config=config).id
    assert len(cri.containers()) == 1


def test_many_at_once_under_one_name_give_one_container(cri, pod):
    """Six with one configuration and two with another, which came first or are refused."""
    config, other = pod.container_config(["true"]), pod.container_config(["true"])
    other.args.append("changed")
    other.metadata.name = config.metadata.name
    answers = []

    def create(config) -> None:
        try:
            answers.append(pod.create(config=config).id)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error
            answers.append("")

    threads = [threading.Thread(target=create, args=(config,)) for config in [config] * 3 + [other] * 2 + [config] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {answer for answer in answers if answer}
    assert len(answers) == 8 and len(ids) == 1, answers
    assert answers.count("") in (2, 6)
    assert [container.id for container in cri.containers()] == list(ids)


def test_the_same_container_name_with_another_config_is_refused(cri, pod):
    config = pod.container_config(["true"])
    container = pod.create(config=config)
    config.args.append("changed")
    refused = pod.create_refused(config=config)
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert container.id[:12] in refused.text or "main" in refused.text


def test_a_creation_retried_after_the_clients_timeout(cri, pod):
    config = pod.container_config(["true"])
    for milliseconds in (1, 1, 2):
        try:
            cri.call("CreateContainer", pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config,
                     timeout=milliseconds / 1000)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    first = pod.create(config=config)
    assert [container.id for container in cri.containers()] == [first.id]


def test_a_pod_that_nobody_came_back_for_can_be_found(cri):
    """Work that outlives its client is listed, so that somebody can remove it."""
    config = cri.pod_config()
    try:
        cri.run_pod(config, timeout=0.003)
    except grpc.RpcError:
        pass
    first = cri.run_pod(config).id
    wait.until(lambda: [pod.id for pod in cri.pods()] == [first], "one pod")
