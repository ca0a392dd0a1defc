"""L29: a pod's sysctls reach its own namespaces and nothing else (CVE-2022-0811, CVE-2022-0532).

Seen to fail without the classes of SysctlRules and of the shim's CloneSysctls, where copies lay over the files that are
concerned: the copies of core_pattern, swappiness, hostname and msgmax changed."""

import contextlib
import os
import pathlib
import re

import grpc
import pytest

from lib.cri import SLEEPER
from lib.stubs import pb
from test_userns import users

# What counts by itself, or is another one's interface.
COUNTERS = re.compile(
    r"fs/(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota/.*)|kernel/(random/.*|pty/nr|ns_last_pid)"
    r"|net/.*count|net/ipv[46]/(conf|neigh)/(?!(all|default|lo)/).*")


WATCHED = ["kernel/core_pattern", "kernel/msgmax", "kernel/shm_rmid_forced", "kernel/hostname", "vm/swappiness",
           "fs/file-max", "kernel/sysrq", "kernel/modprobe"]


def tree(below: str) -> dict[str, bytes]:
    """Everything that can be read below /proc/sys, as the calling thread sees it."""
    found = {}
    for directory, _, files in os.walk(f"/proc/sys/{below}"):
        for name in files:
            path = os.path.relpath(os.path.join(directory, name), "/proc/sys")
            with contextlib.suppress(OSError):
                if not COUNTERS.fullmatch(path):
                    found[path] = pathlib.Path("/proc/sys", path).read_bytes()
    return found


def values(node) -> dict[str, bytes]:
    """The machine's, and those of the network namespace that is the node's for the daemon."""
    return {**{path: value for path, value in tree("").items() if not path.startswith("net/")},
            **node.inside.call(lambda: tree("net"))}


@pytest.fixture(scope="module", autouse=True)
def at_first(node, shared) -> dict[str, bytes]:
    """After what the daemon sets when it starts."""
    return values(node)


@pytest.fixture(autouse=True)
def untouched():
    """What the refused keys below name; the whole tree is compared after them all."""
    def watched() -> dict[str, str]:
        paths = {name: pathlib.Path("/proc/sys", name) for name in WATCHED}
        return {name: path.read_text() for name, path in paths.items() if path.exists()}

    before = watched()
    yield
    assert watched() == before


def config(cri, sysctls: dict[str, str], **options):
    if options.pop("user_namespace", False):
        options.update(pid=pb.CONTAINER, userns_options=users())
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
    ({"kernel.core_pattern": "|/x"}, {"user_namespace": True}),
    ({"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x"}, {"user_namespace": True}),
])
def test_what_is_not_the_pods_own_is_refused(cri, sysctls, options):
    """By name, with nothing left of the pod."""
    refused = cri.refused("RunPodSandbox", config=config(cri, sysctls, **options))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT, refused
    assert "sysctl" in refused.text and not cri.pods()


@pytest.mark.parametrize("user_namespace", [False, True])
def test_the_pods_own_are_set_and_seen_by_its_containers(cri, user_namespace):
    wanted = {"net.ipv4.ip_local_port_range": "20000\t30000", "kernel.msgmax": "12345", "kernel.shm_rmid_forced": "1",
              "net/ipv4/tcp_fin_timeout": "17", "fs.mqueue.msg_max": "11"}
    container = cri.run_pod(config(cri, wanted, user_namespace=user_namespace)).run(SLEEPER)
    names = " ".join("/proc/sys/" + name.replace(".", "/") for name in wanted)
    assert container.shell(f"cat {names}").splitlines() == list(wanted.values())


@pytest.mark.parametrize("asked, ports, groups", [
    ({}, "0", "0\t2147483647"),
    ({"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ping_group_range": "1 0"}, "1024", "1\t0")])
def test_a_pod_that_asks_for_nothing_may_listen_and_ping(cri, asked, ports, groups):
    container = cri.run_pod(config(cri, asked)).run(SLEEPER)
    text = container.shell("cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range")
    assert text.splitlines() == [ports, groups]


def test_the_whole_tree_is_as_it_was(node, at_first):
    now = values(node)
    assert {path for path in at_first | now if at_first.get(path) != now.get(path)} == set()
