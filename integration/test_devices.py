"""Device nodes: the default ones, those of a request, the privileged ones; and what the device cgroup lets."""

import os
import stat
import subprocess

import grpc
import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT
# Of no driver: who may open it is told that there is none, who may not that it is not permitted.
NOBODY = (240, 7)
OPEN = "dd if=%s of=/dev/null count=0 2>&1 || true"


def device(host, container="", permissions="rw"):
    return pb.Device(host_path=str(host), container_path=container, permissions=permissions)


@pytest.fixture
def nodes(tmp_path):
    """A directory with devices of the node's below it."""
    folder = tmp_path / "dev"
    (folder / "deep").mkdir(parents=True)
    os.mknod(folder / "mine", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    os.chmod(folder / "mine", 0o640)
    os.chown(folder / "mine", 33, 50)
    os.mknod(folder / "deep" / "nobody", stat.S_IFCHR | 0o600, os.makedev(*NOBODY))
    (folder / "plain").write_text("no device")
    (folder / "link").symlink_to("mine")
    return folder


def test_default_nodes(pod):
    text = pod.output(
        "cd /dev; for n in null zero full random urandom tty; do stat -c '%n %t:%T %a %u:%g %F' $n; done; "
        "for n in fd stdin stdout stderr ptmx; do readlink $n; done; ls")
    lines = text.splitlines()
    assert lines[:6] == [f"{name} {numbers} 666 0:0 character special file" for name, numbers in [
        ("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]]
    assert lines[6:11] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    assert set(lines[11:]) <= {"null", "zero", "full", "random", "urandom", "tty", "fd", "stdin", "stdout", "stderr",
                               "ptmx", "core", "pts", "shm", "mqueue"}


def test_a_requested_device(pod, nodes):
    """With the node's type, numbers, mode and owner; a link means its target; the cgroup lets what was asked for."""
    container = pod.run(SLEEPER, devices=[
        device(nodes / "link", "/dev/sub/zero", "r"), device(nodes / "deep" / "nobody", "/opt/nobody", "m")])
    assert container.shell("stat -c '%t:%T %a %u:%g' /dev/sub/zero") == "1:5 640 33:50\n"
    assert container.shell("stat -c '%t:%T' /opt/nobody") == "f0:7\n"
    # asked for with m alone: the node is there and cannot be opened
    assert "not permitted" in container.shell(OPEN % "/opt/nobody")


def test_a_device_that_nobody_asked_for_cannot_be_opened(pod, nodes):
    plain = pod.run(SLEEPER, name="plain")
    assert "not permitted" in plain.shell("mknod /tmp/x c 240 7; " + OPEN % "/tmp/x")
    asked = pod.run(SLEEPER, name="asked", devices=[device(nodes / "deep" / "nobody", "/dev/nobody", "rw")])
    assert "No such device" in asked.shell(OPEN % "/dev/nobody")
    readable = pod.run(SLEEPER, name="readable", devices=[device(nodes / "deep" / "nobody", "/dev/nobody", "r")])
    assert "No such device" in readable.shell(OPEN % "/dev/nobody")
    assert "not permitted" in readable.shell("(: > /dev/nobody) 2>&1 || true")


def test_a_directory_adds_all_below(pod, nodes):
    os.mknod(nodes / "console", stat.S_IFCHR | 0o600, os.makedev(*NOBODY))  # left out of /dev itself alone
    container = pod.run(SLEEPER, devices=[device(nodes, "/dev/all")])
    assert container.shell("cd /dev/all; find . -type c | sort; ls").split() == [
        "./console", "./deep/nobody", "./mine", "console", "deep", "mine"]
    same = pod.run(SLEEPER, name="same", devices=[device(str(nodes) + "/")])
    assert same.shell(f"cd {nodes}; find . -type c | sort") == "./console\n./deep/nobody\n./mine\n"


@pytest.mark.parametrize("asked, field", [
    (device("/dev/not-there"), "host_path"), (device("/etc/passwd"), "host_path"),
    (device("dev/null"), "container_path"), (device("/dev/null", "relative"), "container_path"),
    (device("/", "/dev/x"), "host_path"), (device("/dev/null", "/dev/x", ""), "permissions"),
    (device("/dev/null", "/dev/pts/../shm/x"), "container_path"), (device("/dev/null", "/dev/pts"), "container_path"),
    (device("/dev/null", "/dev/x", "rwx"), "permissions"), (device("/dev/null", "/dev/x", "rr"), "permissions"),
])
def test_what_is_no_device_is_refused_by_name(pod, asked, field):
    refused = pod.create_refused(["true"], devices=[device("/dev/null", "/dev/fine"), asked])
    assert refused.code == INVALID and f"devices[1].{field}" in refused.text, refused


def nodes_of_the_node() -> set[str]:
    found = subprocess.run(["find", "/dev", "-xdev", "-type", "c", "-o", "-xdev", "-type", "b"], capture_output=True,
                           text=True).stdout.split()
    return {path for path in found if path.split("/")[2] not in ("pts", "shm", "mqueue", "console", "ptmx")}


def test_a_privileged_container_has_the_nodes_devices(cri):
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    before = nodes_of_the_node()
    container = pod.run(SLEEPER, linux=security(privileged=True))
    mine = before & nodes_of_the_node()  # what comes or goes meanwhile is in the container or not
    theirs = set(container.shell("find /dev -type c -o -type b").split())
    assert {"/dev/null", "/dev/zero"} <= mine <= theirs, mine - theirs
    assert "No such device" in container.shell("mknod /tmp/x c 240 7; " + OPEN % "/tmp/x")


def test_ownership_from_the_security_context(make_daemon, nodes):
    """device_ownership_from_security_context: requested nodes are the container's user's, the others root's."""
    daemon = make_daemon(settings={"device_ownership_from_security_context": True})
    context = security(run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=2000))
    container = daemon.client.run_pod().run(SLEEPER, linux=context, devices=[device(nodes / "mine", "/dev/mine")])
    assert container.shell("stat -c '%u:%g %a' /dev/mine /dev/null") == "1000:2000 640\n0:0 666\n"
    assert container.execute("head", "-c", "1", "/dev/mine").exit_code == 0
