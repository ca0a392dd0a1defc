"""What must be refused with the right code and a text that names it. The census sees that nothing stays behind.

Cases about images and registries are in test_images.py and test_pull.py, about starting the daemon in
test_daemon_start.py.
"""

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER, security
from lib.stubs import pb

INVALID, NOT_FOUND, STATE = (
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


@pytest.mark.parametrize("metadata, word", [
    (None, "metadata"), (dict(name="", namespace="n", uid="u"), "name"),
    (dict(name="n", namespace="", uid="u"), "namespace"), (dict(name="n", namespace="n", uid=""), "uid"),
])
def test_a_pod_without_metadata(cri, metadata, word):
    config = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(**metadata)) if metadata else pb.PodSandboxConfig()
    refused = cri.refused("RunPodSandbox", config=config)
    assert refused.code == INVALID and word in refused.text
    assert not cri.pods()


def test_a_pod_without_a_config(cri):
    assert cri.refused("RunPodSandbox").code == INVALID


def test_an_unknown_runtime_handler(cri):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(), runtime_handler="kata")
    assert refused.code == INVALID and "kata" in refused.text


@pytest.mark.parametrize("handler", ["", "swiftlet"])
def test_a_runtime_handler_that_there_is(cri, handler):
    """It is told as it was asked for."""
    id = cri.call("RunPodSandbox", config=cri.pod_config(), runtime_handler=handler).pod_sandbox_id
    assert cri.pod_status(id).runtime_handler == handler
    assert [pod.runtime_handler for pod in cri.pods(id=id)] == [handler]


@pytest.mark.parametrize("metadata", [None, dict(name="")])
def test_a_container_without_metadata(pod, metadata):
    config = pod.container_config(["true"])
    config.ClearField("metadata")
    if metadata:
        config.metadata.CopyFrom(pb.ContainerMetadata(**metadata))
    refused = pod.create_refused(config=config)
    assert refused.code == INVALID and ("metadata" in refused.text or "name" in refused.text)


def test_a_container_without_an_image(pod):
    config = pod.container_config(["true"])
    config.ClearField("image")
    refused = pod.create_refused(config=config)
    assert refused.code == INVALID and "image" in refused.text


def test_a_container_without_a_config(cri, pod):
    assert cri.refused("CreateContainer", pod_sandbox_id=pod.id).code == INVALID


def test_a_container_in_a_stopped_pod(cri):
    pod = cri.run_pod()
    created = pod.create(["true"], name="early")
    pod.stop()
    refused = pod.create_refused(["true"])
    assert refused.code == STATE and pod.id[:12] in refused.text
    assert created.start_refused().code == STATE


def test_a_command_that_is_not_in_the_image(pod):
    container = pod.create(["/usr/bin/not-in-the-image"])
    refused = container.start_refused()
    assert "/usr/bin/not-in-the-image" in refused.text
    status = container.status()
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 128, "StartError")


def test_a_user_that_is_not_in_the_images_passwd(pod):
    refused = pod.create_refused(["true"], linux=security(run_as_username="nobody-knows"))
    assert refused.code in (INVALID, NOT_FOUND) and "nobody-knows" in refused.text


def test_a_group_without_a_user(pod):
    refused = pod.create_refused(["true"], linux=security(run_as_group=pb.Int64Value(value=5)))
    assert refused.code == INVALID and "run_as_group" in refused.text


def test_a_group_without_a_user_for_the_pod(cri):
    context = pb.LinuxSandboxSecurityContext(run_as_group=pb.Int64Value(value=5))
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=context)))
    assert refused.code == INVALID and "run_as_group" in refused.text


@pytest.mark.parametrize("number", [-1, 1 << 31, 1 << 40])
def test_a_user_number_out_of_range(pod, number):
    assert pod.create_refused(["true"], linux=security(run_as_user=pb.Int64Value(value=number))).code == INVALID


@pytest.mark.parametrize("directory", ["relative", "./x", "../x"])
def test_a_relative_working_directory(pod, directory):
    refused = pod.create_refused(["true"], working_dir=directory)
    assert refused.code == INVALID and "working_dir" in refused.text and directory in refused.text


@pytest.mark.parametrize("directory", ["/proc/self/fd/3", "/proc/1/fd/4", "/proc/self/cwd", "/proc/thread-self/root"])
def test_a_working_directory_through_a_magic_link(pod, directory):
    """Refused at creation, or at start as StartError; never reached."""
    config = pod.container_config(["pwd"], working_dir=directory)
    try:
        container = pod.create(config=config)
    except grpc.RpcError as error:
        assert error.code() == INVALID and directory in error.details()
        return
    refused = container.start_refused()
    assert directory in refused.text or "cwd" in refused.text or "working" in refused.text, refused
    assert container.status().reason == "StartError"


def test_a_log_directory_that_cannot_be_made(cri, tmp_path):
    (tmp_path / "file").touch()
    pod = cri.run_pod(log_directory=str(tmp_path / "file" / "below"))
    container = pod.create(["true"])
    refused = container.start_refused()
    assert str(tmp_path / "file") in refused.text
    assert container.status().reason == "StartError"


@pytest.mark.parametrize("path", ["../../escape.log", "a/../../escape.log", "../\u0301escape.log"])
def test_a_log_path_that_leaves_its_directory(pod, path):
    refused = pod.create_refused(["true"], log_path=path)
    assert refused.code == INVALID and "log_path" in refused.text


@pytest.mark.parametrize("more, word", [
    (dict(stop_signal=999), "stop_signal"),
    (dict(linux=security(seccomp=pb.SecurityProfile(profile_type=17))), "seccomp"),
    (dict(linux=security(seccomp=pb.SecurityProfile(localhost_ref="/x"))), "localhost_ref"),
    (dict(linux=security(supplemental_groups_policy=17)), "supplemental_groups_policy"),
    (dict(linux=security(supplemental_groups=[-1])), "supplemental_groups"),
    (dict(envs=[pb.KeyValue(key="", value=b"x")]), "env"),
    (dict(envs=[pb.KeyValue(key="A=B", value=b"x")]), "env"),
    (dict(envs=[pb.KeyValue(key="A", value=b"a\0b")]), "env"),
    (dict(args=["a\0b"]), ""),
    (dict(working_dir="/a\0b"), ""),
])
def test_values_that_make_no_sense(pod, more, word):
    refused = pod.create_refused(["true"], **more)
    assert refused.code == INVALID, refused
    assert word in refused.text


def test_what_is_for_windows(cri, pod):
    """Refused beside what is for Linux, too: nothing of a request is passed over in silence."""
    refused = [
        cri.refused("RunPodSandbox", config=cri.pod_config(windows=pb.WindowsPodSandboxConfig())),
        pod.create_refused(["true"], windows=pb.WindowsContainerConfig()),
    ]
    for answer in refused:
        assert answer.code == INVALID and "windows" in answer.text, answer


def test_no_address_left(make_daemon):
    """A /29 has five: all but network, gateway and broadcast. The sixth pod is refused and leaves nothing."""
    from lib.census import Census

    daemon = make_daemon(network={"pod_cidrs": ["10.244.99.0/29"]}, load=False)
    cri = daemon.client
    pods = [cri.run_pod() for _ in range(5)]
    assert len({pod.ip for pod in pods}) == 5
    census = Census(daemon)
    before = census.take()
    refused = cri.refused("RunPodSandbox", config=cri.pod_config())
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "10.244.99.0/29" in refused.text or "address" in refused.text
    census.settled(before)
    assert len(cri.pods()) == 5
    cri.run_pod(hostname="", linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(network=pb.NODE))))  # needs no address


def test_messages_that_are_no_protobuf(cri):
    call = cri.channel.unary_unary("/runtime.v1.RuntimeService/RunPodSandbox", lambda b: b, lambda b: b)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff\xff", timeout=60)
    assert caught.value.code() in (INVALID, grpc.StatusCode.INTERNAL)
    assert cri.call("Version").version


def test_a_huge_request_is_refused_and_the_daemon_lives(cri):
    config = cri.pod_config(annotations={"big": "x" * (40 << 20)})
    refused = cri.refused("RunPodSandbox", config=config)
    assert refused.code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)  # or its stream is reset
    assert cri.call("Version").version
