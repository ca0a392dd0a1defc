"""Version, Status, RuntimeConfig, ImageFsInfo, and what is not built yet."""

import os

import grpc
import pytest

from lib.cri import METHODS, STREAMS
from lib.stubs import pb, services

BUILT = {
    "Version", "Status", "RuntimeConfig", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "PodSandboxStatus",
    "ListPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "ListContainers",
    "ContainerStatus", "ExecSync", "ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo",
    "UpdateRuntimeConfig", "UpdateContainerResources", "UpdatePodSandboxResources", "ReopenContainerLog",
    "ContainerStats", "ListContainerStats", "PodSandboxStats", "ListPodSandboxStats", "Exec", "Attach", "PortForward",
}


def test_version_says_what_kubelet_insists_on(cri):
    answer = cri.call("Version", version="0.1.0")
    assert answer.version == "0.1.0"  # the kubelet runtime API's, not ours
    assert answer.runtime_api_version == "v1"
    assert answer.runtime_name == "swiftlet"
    assert answer.runtime_version


def test_status_has_both_conditions_and_the_default_handler(cri):
    answer = cri.call("Status", verbose=True)
    conditions = {condition.type: condition for condition in answer.status.conditions}
    assert conditions["RuntimeReady"].status, conditions
    assert conditions["NetworkReady"].status, conditions
    assert "" in [handler.name for handler in answer.runtime_handlers]
    assert "config" in answer.info


def test_runtime_config_says_cgroupfs(cri):
    answer = cri.call("RuntimeConfig")
    assert answer.HasField("linux")
    assert answer.linux.cgroup_driver == pb.CGROUPFS


def test_image_fs_info_names_an_existing_path(cri):
    (usage,) = cri.call("ImageFsInfo").image_filesystems
    assert os.path.isdir(usage.fs_id.mountpoint)
    assert usage.timestamp > 0
    assert usage.used_bytes.value > 0
    assert usage.inodes_used.value > 0


@pytest.mark.parametrize("method", sorted(set(METHODS) - BUILT))
def test_what_is_not_built_answers_unimplemented(cri, method):
    """Not Unknown: clients fall back only on this code."""
    if method in STREAMS:
        stub = services.ImageServiceStub(cri.channel) if method == "StreamImages" else cri.runtime
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(getattr(stub, method)(getattr(pb, METHODS[method][1])(), timeout=60)))
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    else:
        assert cri.refused(method).code == grpc.StatusCode.UNIMPLEMENTED


def test_a_service_nobody_knows_is_unimplemented(cri):
    call = cri.channel.unary_unary("/runtime.v1alpha2.RuntimeService/Version", lambda b: b, lambda b: b)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=60)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_socket_and_directories_are_closed_to_others(daemon):
    assert os.stat(daemon.socket).st_mode & 0o777 == 0o600
    assert os.stat(daemon.root).st_mode & 0o777 == 0o700
    assert os.stat(daemon.state).st_mode & 0o777 == 0o700
