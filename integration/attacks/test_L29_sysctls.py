"""L29: a pod's sysctls reach its own namespaces and nothing else (CVE-2022-0811, CVE-2022-0532)."""

import pathlib

import grpc
import pytest

from lib.cri import SLEEPER
from lib.stubs import pb

# What an escape would change, and what the refused keys below name.
WATCHED = ["kernel/core_pattern", "kernel/msgmax", "kernel/shm_rmid_forced", "kernel/hostname", "vm/swappiness",
           "net/ipv4/ip_forward", "kernel/sysrq", "kernel/modprobe"]


@pytest.fixture(autouse=True)
def untouched():
    def values() -> dict[str, str]:
        return {name: pathlib.Path("/proc/sys", name).read_text() for name in WATCHED
                if pathlib.Path("/proc/sys", name).exists()}

    before = values()
    yield
    assert values() == before


def config(cri, sysctls: dict[str, str], **options):
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(**options))
    return cri.pod_config(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, sysctls=sysctls, security_context=context))


@pytest.mark.parametrize("sysctls, options", [
    ({"kernel.shm_rmid_forced=1+kernel.core_pattern": "|/x"}, {}),
    ({"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x"}, {}),
    ({"kernel.shm_rmid_forced": "1\nkernel.core_pattern=|/x"}, {}),
    ({"net/../kernel/core_pattern": "|/x"}, {}),
    ({"net.ipv4.conf.eth0/1.forwarding": "1"}, {}),
    ({"kernel.core_pattern": "|/x"}, {}), ({"kernel.modprobe": "/x"}, {}), ({"kernel.sysrq": "1"}, {}),
    ({"vm.swappiness": "1"}, {}), ({"fs.file-max": "1"}, {}), ({"kernel.hostname": "x"}, {}),
    ({"net.ipv4.no_such_thing": "1"}, {}), ({"net.ipv4.tcp_syncookies": "not a number"}, {}),
    ({"net.ipv4.tcp_syncookies": "1", "net/ipv4/tcp_syncookies": "0"}, {}), ({"": "1"}, {}),
    ({"kernel.msgmax": "1234"}, {"ipc": pb.NODE}), ({"fs.mqueue.msg_max": "12"}, {"ipc": pb.NODE}),
    ({"net.ipv4.ip_forward": "1"}, {"network": pb.NODE}),
])
def test_what_is_not_the_pods_own_is_refused(cri, sysctls, options):
    """By name, with nothing left of the pod."""
    refused = cri.refused("RunPodSandbox", config=config(cri, sysctls, **options))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused
    assert "sysctl" in refused.text and not cri.pods()


def test_the_pods_own_are_set_and_seen_by_its_containers(cri):
    wanted = {"net.ipv4.ip_local_port_range": "20000\t30000", "kernel.msgmax": "12345", "kernel.shm_rmid_forced": "1",
              "net/ipv4/tcp_fin_timeout": "17", "fs.mqueue.msg_max": "11"}
    container = cri.run_pod(config(cri, wanted)).run(SLEEPER)
    names = " ".join("/proc/sys/" + name.replace(".", "/") for name in wanted)
    assert container.shell(f"cat {names}").splitlines() == list(wanted.values())


@pytest.mark.parametrize("asked, ports, groups", [
    ({}, "0", "0\t2147483647"),
    ({"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ping_group_range": "1 0"}, "1024", "1\t0")])
def test_a_pod_that_asks_for_nothing_may_listen_and_ping(cri, asked, ports, groups):
    container = cri.run_pod(config(cri, asked)).run(SLEEPER)
    text = container.shell("cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range")
    assert text.splitlines() == [ports, groups]
