"""Ids: unique prefixes are accepted everywhere, ambiguous and empty ones are refused."""

import collections

import grpc
import pytest

from lib.stubs import pb

POD_METHODS = ["PodSandboxStatus", "StopPodSandbox", "RemovePodSandbox"]
CONTAINER_METHODS = ["StartContainer", "ContainerStatus", "StopContainer", "RemoveContainer", "ExecSync"]


def container_fields(method: str, id: str) -> dict:
    return {"container_id": id, **({"cmd": ["true"]} if method == "ExecSync" else {})}


def test_a_unique_prefix_is_enough(cri):
    pod = cri.run_pod()
    container = pod.create(["sleep", "1000"])
    short, inner = pod.id[:12], container.id[:12]
    assert cri.pod_status(short).id == pod.id
    cri.call("StartContainer", container_id=inner)
    assert cri.call("ContainerStatus", container_id=inner).status.id == container.id
    assert cri.call("ExecSync", container_id=inner, cmd=["true"]).exit_code == 0
    assert [found.id for found in cri.containers(pod_sandbox_id=short)] == [container.id]
    assert [found.id for found in cri.containers(id=inner)] == [container.id]
    other = cri.call("CreateContainer", pod_sandbox_id=short, sandbox_config=pod.config,
                     config=pod.container_config(["true"], name="second")).container_id
    cri.call("RemoveContainer", container_id=other[:12])
    cri.call("StopContainer", container_id=inner)
    cri.call("RemoveContainer", container_id=inner)
    cri.call("StopPodSandbox", pod_sandbox_id=short)
    cri.call("RemovePodSandbox", pod_sandbox_id=short)
    assert not cri.pods()


def test_an_ambiguous_prefix_is_refused(cri):
    pod = cri.run_pod()
    first_digits = collections.Counter()
    for number in range(17):  # 16 hexadecimal digits: two of 17 ids begin alike
        first_digits[pod.create(["true"], name=f"c{number}").id[0]] += 1
    shared = first_digits.most_common(1)[0][0]
    for method in CONTAINER_METHODS:
        refused = cri.refused(method, **container_fields(method, shared))
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, method
        assert f'"{shared}"' in refused.text and "more than one" in refused.text
    assert len(cri.containers()) == 17


@pytest.mark.parametrize("method", POD_METHODS)
def test_an_empty_pod_id_is_refused(cri, pod, method):
    assert cri.refused(method, pod_sandbox_id="").code == grpc.StatusCode.INVALID_ARGUMENT
    assert pod.ready


@pytest.mark.parametrize("method", CONTAINER_METHODS)
def test_an_empty_container_id_is_refused(cri, pod, method):
    pod.create(["true"])
    assert cri.refused(method, **container_fields(method, "")).code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["StartContainer", "ContainerStatus", "ExecSync"])
def test_an_unknown_container_is_not_found(cri, method):
    for id in ("0" * 64, "no-such-container", "../../etc"):
        refused = cri.refused(method, **container_fields(method, id))
        assert refused.code == grpc.StatusCode.NOT_FOUND, (id, refused)
        assert id[:12] in refused.text


def test_an_unknown_pod_is_not_found(cri):
    assert cri.refused("PodSandboxStatus", pod_sandbox_id="0" * 64).code == grpc.StatusCode.NOT_FOUND
    refused = cri.refused("CreateContainer", pod_sandbox_id="0" * 64, sandbox_config=cri.pod_config(),
                          config=pb.ContainerConfig(metadata=pb.ContainerMetadata(name="x"),
                                                    image=pb.ImageSpec(image="busybox"), command=["true"]))
    assert refused.code == grpc.StatusCode.NOT_FOUND


def test_a_containers_id_is_no_pods_id(cri, pod):
    container = pod.create(["true"])
    assert cri.refused("PodSandboxStatus", pod_sandbox_id=container.id).code == grpc.StatusCode.NOT_FOUND
    assert cri.refused("ContainerStatus", container_id=pod.id).code == grpc.StatusCode.NOT_FOUND
