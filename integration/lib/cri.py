"""A plain CRI client: one method per call that a case makes, with the requests' boring parts filled in."""

from __future__ import annotations

import itertools
import json
import os
import threading
import uuid
from collections.abc import Iterable

import grpc

from .stubs import descriptor, pb, services, swiftlet, swiftlet_services
from .wait import PATIENCE

OPTIONS = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 100),
           ("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
CHUNK = 256 << 10
COUNTER = itertools.count(1)

# PID 1 of a PID namespace ignores TERM unless it handles it.
SLEEPER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]


class Refused(Exception):
    """What `refused` hands back: the code and text of a call that failed."""

    def __init__(self, error: grpc.RpcError):
        self.code: grpc.StatusCode = error.code()
        self.text: str = error.details() or ""
        super().__init__(f"{self.code.name}: {self.text}")


class Client:
    """Both CRI services and our own on one channel. `run` calls count as made by us for the census."""

    def __init__(self, socket: str, timeout: float = 60):
        self.socket, self.timeout = socket, timeout * PATIENCE
        self.channel = grpc.insecure_channel("unix://" + socket, options=OPTIONS)
        self.runtime = services.RuntimeServiceStub(self.channel)
        self.image = services.ImageServiceStub(self.channel)
        self.swiftlet = swiftlet_services.SwiftletStub(self.channel)
        self.lock = threading.Lock()
        self.log_root = ""  # where pods without a log directory of their own put their logs
        self.cgroup_parent = ""

    def close(self) -> None:
        self.channel.close()

    def call(self, method: str, request=None, timeout: float | None = None, **fields):
        """Any unary RPC by name, with a request or with the fields of one."""
        service, message = METHODS[method]
        stub = self.runtime if service == "RuntimeService" else self.image
        if request is None:
            request = getattr(pb, message)(**fields)
        return getattr(stub, method)(request, timeout=timeout or self.timeout)

    def refused(self, method: str, request=None, timeout: float | None = None, **fields) -> Refused:
        """The refusal of a call that must fail."""
        try:
            answer = self.call(method, request, timeout, **fields)
        except grpc.RpcError as error:
            return Refused(error)
        raise AssertionError(f"{method} should have failed, but answered {answer}")

    # pods

    def pod_config(self, name: str | None = None, **more):
        """A sandbox configuration as a kubelet would send it for an ordinary pod; `more` replaces fields."""
        name = name or f"pod-{next(COUNTER)}"
        fields = dict(
            metadata=pb.PodSandboxMetadata(name=name, uid=str(uuid.uuid4()), namespace="default"),
            hostname=name, labels={"suite": "integration"},
            linux=pb.LinuxPodSandboxConfig(
                cgroup_parent=self.cgroup_parent,
                security_context=pb.LinuxSandboxSecurityContext(
                    namespace_options=pb.NamespaceOption(pid=pb.CONTAINER))))
        fields["log_directory"] = os.path.join(self.log_root, fields["metadata"].uid)
        return pb.PodSandboxConfig(**{**fields, **more})

    def run_pod(self, config=None, timeout: float | None = None, **more) -> Pod:
        config = config or self.pod_config(**more)
        answer = self.call("RunPodSandbox", config=config, timeout=timeout)
        return Pod(self, answer.pod_sandbox_id, config)

    def pod_status(self, pod: str):
        return self.call("PodSandboxStatus", pod_sandbox_id=pod).status

    def pods(self, **filter) -> list:
        return list(self.call("ListPodSandbox", filter=pb.PodSandboxFilter(**filter)).items)

    def containers(self, **filter) -> list:
        return list(self.call("ListContainers", filter=pb.ContainerFilter(**filter)).containers)

    def remove_all(self) -> None:
        """Ends and forgets every pod."""
        for pod in self.pods():
            self.call("StopPodSandbox", pod_sandbox_id=pod.id)
            self.call("RemovePodSandbox", pod_sandbox_id=pod.id)

    # images

    def load(self, archive: bytes) -> list:
        chunks = (swiftlet.LoadImagesRequest(chunk=archive[at:at + CHUNK]) for at in range(0, len(archive), CHUNK))
        return list(self.swiftlet.LoadImages(chunks, timeout=600).images)

    def load_refused(self, archive: bytes) -> Refused:
        try:
            answer = self.load(archive)
        except grpc.RpcError as error:
            return Refused(error)
        raise AssertionError(f"LoadImages should have failed, but answered {answer}")

    def pull(self, reference: str, timeout: float = 120 * PATIENCE, **auth) -> str:
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference))
        if auth:
            request.auth.CopyFrom(pb.AuthConfig(**auth))
        return self.call("PullImage", request, timeout=timeout).image_ref

    def image_status(self, reference: str):
        """The image, or None."""
        answer = self.call("ImageStatus", image=pb.ImageSpec(image=reference))
        return answer.image if answer.HasField("image") else None

    def images(self) -> list:
        return list(self.call("ListImages").images)

    def remove_image(self, reference: str) -> None:
        self.call("RemoveImage", image=pb.ImageSpec(image=reference))


def security(**fields):
    """A LinuxContainerConfig that changes nothing but the security context."""
    return pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(**fields))


def resources(**fields):
    """A LinuxContainerConfig that changes nothing but the limits."""
    return pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(**fields))


class Pod:
    """A sandbox that this client made."""

    def __init__(self, client: Client, id: str, config):
        self.client, self.id, self.config = client, id, config

    def container_config(
            self, command: Iterable[str] | None = None, image: str = "busybox", name: str = "main", **more):
        """A container configuration; `linux` of `more` is merged into the ordinary one."""
        linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(
            namespace_options=self.config.linux.security_context.namespace_options))
        if "linux" in more:
            linux.MergeFrom(more.pop("linux"))
        config = pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name=name), image=pb.ImageSpec(image=image, user_specified_image=image),
            command=command, log_path=f"{name}/0.log", linux=linux)
        config.MergeFrom(pb.ContainerConfig(**more))
        return config

    def create(self, command: Iterable[str] | None = None, config=None, **more) -> Container:
        config = config or self.container_config(command, **more)
        answer = self.client.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return Container(self, answer.container_id, config)

    def create_refused(self, command: Iterable[str] | None = None, config=None, **more) -> Refused:
        config = config or self.container_config(command, **more)
        return self.client.refused(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config)

    def run(self, command: Iterable[str] | None = None, **more) -> Container:
        return self.create(command, **more).start()

    def output(self, command: Iterable[str] | str, **more) -> str:
        """What a container with `command` wrote until its end, which must be 0."""
        arguments = ["sh", "-c", command] if isinstance(command, str) else list(command)
        more.setdefault("name", f"once-{next(COUNTER)}")
        container = self.run(arguments, **more)
        status = container.wait()
        text = container.log_text()
        assert status.exit_code == 0, f"{arguments}: exit {status.exit_code} {status.message}: {text}"
        return text

    def status(self):
        return self.client.pod_status(self.id)

    def info(self) -> dict:
        """The parsed `info["info"]` of a verbose status."""
        answer = self.client.call("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True)
        return json.loads(answer.info.get("info", "{}"))

    @property
    def ip(self) -> str:
        return self.status().network.ip

    @property
    def ready(self) -> bool:
        return self.status().state == pb.SANDBOX_READY

    def stop(self) -> None:
        self.client.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self) -> None:
        self.client.call("RemovePodSandbox", pod_sandbox_id=self.id)


class Container:
    """A container that this client made."""

    def __init__(self, pod: Pod, id: str, config):
        self.pod, self.client, self.id, self.config = pod, pod.client, id, config

    def start(self) -> Container:
        self.client.call("StartContainer", container_id=self.id)
        return self

    def start_refused(self) -> Refused:
        return self.client.refused("StartContainer", container_id=self.id)

    def status(self):
        return self.client.call("ContainerStatus", container_id=self.id).status

    def info(self) -> dict:
        answer = self.client.call("ContainerStatus", container_id=self.id, verbose=True)
        return json.loads(answer.info.get("info", "{}"))

    def wait(self, deadline: float = 120):
        """Its status once it has ended."""
        from . import wait

        def ended():
            status = self.status()
            return status if status.state == pb.CONTAINER_EXITED else None

        return wait.until(ended, f"end of container {self.config.metadata.name}", deadline)

    def stop(self, timeout: int = 0) -> None:
        request = pb.StopContainerRequest(container_id=self.id, timeout=timeout)
        self.client.call("StopContainer", request, timeout=timeout + 60 * PATIENCE)

    def remove(self) -> None:
        self.client.call("RemoveContainer", container_id=self.id)

    def execute(self, *command: str, timeout: int = int(60 * PATIENCE)):
        """ExecSync's answer."""
        request = pb.ExecSyncRequest(container_id=self.id, cmd=command, timeout=timeout)
        return self.client.call("ExecSync", request, timeout=timeout + 60 * PATIENCE)

    def shell(self, script: str) -> str:
        """Standard output of a shell script that must succeed inside."""
        answer = self.execute("sh", "-c", script)
        assert answer.exit_code == 0, f"{script!r}: {answer.exit_code} {answer.stderr.decode()}"
        return answer.stdout.decode()

    @property
    def log_path(self) -> str:
        return os.path.join(self.pod.config.log_directory, self.config.log_path)

    def log(self) -> list:
        from . import logs
        return logs.read(self.log_path)

    def log_text(self) -> str:
        from . import logs
        return logs.text(self.log_path)


METHODS: dict[str, tuple[str, str]] = {
    method.name: (service.name, method.input_type.name)
    for service in descriptor.services_by_name.values() for method in service.methods}
STREAMS = {method.name for service in descriptor.services_by_name.values()
           for method in service.methods if method.server_streaming}
