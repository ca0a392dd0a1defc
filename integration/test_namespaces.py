"""Whose namespaces a container gets: NamespaceOption in all its meanings."""

import os
import socket
import tempfile

import grpc
import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb


def options(cri, **fields):
    """The `linux` part of a pod with these namespace options."""
    return pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent,
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(**fields)))


def namespaces(container) -> dict[str, str]:
    names = ("mnt", "net", "pid", "ipc", "uts", "cgroup")
    return {name: container.shell(f"readlink /proc/self/ns/{name}").strip() for name in names}


def own() -> dict[str, str]:
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "pid", "ipc", "uts")}


def test_two_containers_of_a_pod_share_all_but_mounts_and_pids(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER))
    first, second = (namespaces(pod.run(SLEEPER, name=name)) for name in ("a", "b"))
    for name in ("net", "ipc", "uts"):
        assert first[name] == second[name] != own()[name], name
    for name in ("mnt", "pid"):
        assert first[name] != second[name] != own()[name], name


def test_a_container_of_its_own_pids_is_process_one(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER))
    assert pod.output("echo $$") == "1\n"


def test_a_pod_shares_its_pids_when_asked(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.POD))
    first, second = pod.run(SLEEPER, name="a"), pod.run(SLEEPER, name="b")
    assert namespaces(first)["pid"] == namespaces(second)["pid"] != own()["pid"]
    processes = first.shell("ps -o pid,comm")
    assert "pause" in processes.splitlines()[1], processes  # PID 1
    assert processes.count("sh") >= 2


def test_the_nodes_pids(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.NODE))
    container = pod.run(SLEEPER)
    assert namespaces(container)["pid"] == own()["pid"]
    assert container.shell(f"cat /proc/{os.getpid()}/comm").strip()


def test_the_nodes_ipc(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER, ipc=pb.NODE))
    container = pod.run(SLEEPER)
    assert namespaces(container)["ipc"] == own()["ipc"]
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as mark:
        container.shell(f"test -f {mark.name}")


def test_the_nodes_network_brings_its_names_too(cri, daemon):
    pod = cri.run_pod(hostname="", linux=options(cri, pid=pb.CONTAINER, network=pb.NODE))
    status = pod.status()
    assert status.state == pb.SANDBOX_READY and not status.network.ip and not status.network.additional_ips
    assert status.linux.namespaces.options.network == pb.NODE
    container = pod.run(SLEEPER)
    found = namespaces(container)
    assert found["net"] == f"net:[{daemon.node.inside.inode}]"
    assert found["uts"] == own()["uts"]
    assert "uplink" in container.shell("cat /proc/net/dev")
    assert container.shell("cat /etc/hostname; echo $HOSTNAME").split() == [socket.gethostname()] * 2


def test_another_containers_pids(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER))
    target = pod.run(SLEEPER, name="target")
    guest = pod.run(SLEEPER, name="guest", linux=security(
        namespace_options=pb.NamespaceOption(pid=pb.TARGET, target_id=target.id)))
    assert namespaces(guest)["pid"] == namespaces(target)["pid"]
    assert "trap" in guest.shell("tr '\\0' ' ' < /proc/1/cmdline")


def test_a_target_is_looked_at_again_when_the_guest_starts(cri):
    pod, other = cri.run_pod(linux=options(cri, pid=pb.CONTAINER)), cri.run_pod()
    target = pod.run(SLEEPER, name="target")
    linux = security(namespace_options=pb.NamespaceOption(pid=pb.TARGET, target_id=target.id))
    refused = other.create_refused(SLEEPER, name="stranger", linux=linux)
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "same sandbox" in refused.text
    guest = pod.create(SLEEPER, name="guest", linux=linux)
    target.stop()
    refused = guest.start_refused()
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "target_id" in refused.text


def test_a_target_that_does_not_run_is_refused(cri):
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER))
    target = pod.create(SLEEPER, name="target")
    refused = pod.create_refused(SLEEPER, name="guest", linux=security(
        namespace_options=pb.NamespaceOption(pid=pb.TARGET, target_id=target.id)))
    assert refused.code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)


def test_the_pods_pid_namespace_where_the_pod_has_none(cri):
    """A pod made with CONTAINER has no PID namespace for its containers to share."""
    pod = cri.run_pod(linux=options(cri, pid=pb.CONTAINER))
    config = pod.container_config(SLEEPER)
    config.linux.security_context.namespace_options.pid = pb.POD
    refused = pod.create_refused(config=config)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "namespace_options.pid" in refused.text


@pytest.mark.parametrize("fields", [dict(network=3), dict(ipc=3), dict(pid=3), dict(network=17)])
def test_modes_that_make_no_sense_are_refused(cri, fields):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(linux=options(cri, **fields)))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def test_pods_do_not_share(cri):
    first, second = (namespaces(cri.run_pod().run(SLEEPER)) for _ in range(2))
    for name in ("mnt", "net", "pid", "ipc", "uts"):
        assert first[name] != second[name], name


def test_the_pods_shared_memory(cri):
    pod = cri.run_pod()
    first, second = pod.run(SLEEPER, name="a"), pod.run(SLEEPER, name="b")
    first.shell("echo shared > /dev/shm/x")
    assert second.shell("cat /dev/shm/x") == "shared\n"
    assert cri.run_pod().output("ls /dev/shm") == ""
    fields = first.shell("grep ' /dev/shm ' /proc/self/mountinfo").split()
    assert fields[-3] == "tmpfs" and {"nosuid", "nodev", "noexec"} <= set(fields[5].split(","))
    assert first.shell("stat -c %a /dev/shm") == "1777\n"
