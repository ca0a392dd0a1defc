"""Starting and stopping the daemon: what it refuses, what it says, what it leaves."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess

import grpc
import pytest

from lib import wait
from lib.cri import Client
from lib.daemon import binaries


@pytest.fixture
def stopped(make_daemon):
    """A daemon that was made but not started."""
    return make_daemon(start=False)


def refused(daemon, word: str, *more: str) -> str:
    """A start must end by itself with another code than 0 and name `word`."""
    code, output = daemon.run_to_end(*more)
    assert code != 0, output
    assert word in output, output
    assert "Fatal error" not in output, output
    return output


def test_clean_stop_on_term(make_daemon):
    daemon = make_daemon(load=False)
    assert daemon.terminate() == 0
    assert not daemon.socket.exists()


def test_clean_stop_on_interrupt(make_daemon):
    daemon = make_daemon(load=False)
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(60) == 0


def test_term_waits_for_no_idle_client(make_daemon):
    daemon = make_daemon(load=False)
    idle = Client(str(daemon.socket))
    idle.call("Version")
    daemon.terminate(deadline=25)
    idle.close()


def test_a_socket_served_by_a_live_daemon(make_daemon):
    first = make_daemon(load=False)
    second = make_daemon(start=False, node=first.node)
    second.socket = first.socket
    refused(second, str(first.socket))
    assert first.client.call("Version").version == "0.1.0"
    assert first.socket.exists()


def test_a_socket_served_by_somebody_else(stopped):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(stopped.socket))
    server.listen()
    refused(stopped, str(stopped.socket))
    assert stopped.socket.exists()
    server.close()


def test_a_dead_socket_is_taken_over(stopped):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(stopped.socket))
    server.close()
    stopped.start()


def test_a_file_where_the_socket_should_be_is_not_removed(stopped):
    stopped.socket.write_text("mine")
    refused(stopped, str(stopped.socket))
    assert stopped.socket.read_text() == "mine"


def test_a_locked_state_directory(make_daemon):
    first = make_daemon(load=False)
    second = make_daemon(start=False, node=first.node)
    second.state = first.state
    refused(second, str(first.state))
    assert first.client.call("Version").version


def test_a_locked_root_directory(make_daemon):
    first = make_daemon(load=False)
    second = make_daemon(start=False, node=first.node)
    second.root = first.root
    refused(second, str(first.root))


def test_an_underlay_that_is_not_there(stopped):
    stopped.config.write_text("[network]\nbackend = \"host-gw\"\nunderlay = \"nowhere\"\n")
    refused(stopped, "network.underlay: there is no interface \"nowhere\"")


@pytest.mark.parametrize("text, words", [
    ("[network]\nbrigde = \"x\"\n", ["brigde", "2"]), ("colour = \"blue\"\n", ["colour", "1"]),
    ("[network]\nbridge = 5\n", ["bridge"]), ("[network\n", ["1"]),
    ("[network]\npod_cidrs = [\"10.0.0.0/33\"]\n", ["10.0.0.0/33"]),
    ("[network]\nvxlan = { vni = 0 }\n", ["vxlan.vni"]),
    ("[network.vxlan]\ntypo = 1\n", ["2:1", "network.vxlan.typo"]),
    ("[network]\nnodes = { file = \"/x\" }\n", ["network.nodes", "network.backend"]),
    ("[network]\nbackend = \"host-gw\"\n[network.nodes]\nfile = \"x\"\n", ["4:1", "not absolute"]),
    ("[network]\nbackend = \"auto\"\nnode_name = \"a/b\"\nnodes = { file = \"/x\" }\n", ["3:1", "node_name"]),
    ("[network]\nbackend = \"host-gw\"\nnodes = { etcd = { endpoints = [\"x:1\"] } }\n", ["etcd.endpoints"]),
    ("[network]\nbridge = \"a-name-far-too-long\"\n", ["bridge"]),
    ("[network]\nbridge = \"a/b\"\n", ["bridge"]),
    ("[network]\nisolation = \"some\"\n", ["2:1: network.isolation", "none, label, full"]),
    ("[network]\nsource_ips = [\"::1\"]\n", ["2:1: network.source_ips"]),
    ("[network]\nhost_ports = { reserve = 1 }\n", ["network.host_ports.reserve", "true or false"]),
    ("[network.host_ports]\nlocal = true\n", ["2:1: network.host_ports.local", "localhost"]),
    ("[network]\nforward_accept = \"maybe\"\n", ["forward_accept", "insert, warn, off"]),
], ids=["unknown key", "unknown top key", "wrong type", "no TOML", "bad CIDR", "vni", "vxlan key", "no backend",
        "relative file", "bad node name", "endpoint", "long name", "slash", "isolation", "source address",
        "inline table", "inner table", "no choice"])
def test_a_config_that_says_nonsense(stopped, text, words):
    stopped.config.write_text(text)
    output = refused(stopped, str(stopped.config) if words != ["1"] else "")
    for word in words:
        assert word in output, output
    assert not stopped.root.exists() or not any(stopped.root.iterdir())


def test_a_config_that_is_not_there(stopped):
    stopped.config.unlink()
    refused(stopped, str(stopped.config))


def test_an_unknown_flag(stopped):
    refused(stopped, "--no-such-flag", "--no-such-flag")


def test_not_root(stopped):
    programs = stopped.base / "programs"
    shutil.copytree(binaries(), programs, ignore=lambda directory, names: [
        name for name in names if name not in ("swiftletd", "swiftlet-shim", "swiftlet-pause")])
    stopped.base.chmod(0o777)
    arguments = stopped.command()
    at = arguments.index(str(binaries() / "swiftletd"))
    arguments[at:at + 1] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(programs / "swiftletd")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "root" in done.stdout + done.stderr
    assert not stopped.root.exists() and not stopped.socket.exists()


def test_a_bridge_name_taken_by_somebody_elses_interface(stopped):
    """The interface is left alone, and somebody is told: at the start, or by NetworkReady and every pod."""
    space, bridge = stopped.node.inside, stopped.network["bridge"]
    space.run("ip", "link", "add", bridge, "type", "veth", "peer", "name", "other")
    before = space.json("ip", "-j", "-d", "link", "show", bridge)
    try:
        stopped.start()
    except AssertionError:
        assert bridge in stopped.tail()
    else:
        conditions = {c.type: c for c in stopped.client.call("Status").status.conditions}
        assert not conditions["NetworkReady"].status and bridge in conditions["NetworkReady"].message
        answer = stopped.client.refused("RunPodSandbox", config=stopped.client.pod_config())
        assert answer.code in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE)
        assert bridge in answer.text
    assert space.json("ip", "-j", "-d", "link", "show", bridge) == before


def test_inherited_descriptors_go_nowhere(stopped):
    """Started with 20 open directories of the host: neither shim, pause nor container has any (L02)."""
    root = os.stat("/")
    extra = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for fd in extra:
        os.set_inheritable(fd, True)
    try:
        stopped.start(pass_fds=extra)
    finally:
        for fd in extra:
            os.close(fd)
    from lib import images, oci
    stopped.client.load(oci.layout_archive({"docker.io/library/busybox:latest": images.busybox()}))
    pod = stopped.client.run_pod()
    assert pod.output("ls /proc/self/fd | tr '\\n' ' '").split() == ["0", "1", "2", "3"]
    for pid in stopped.shims() + [pod.info()["pid"]]:
        held = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed since; what is inherited stays open
                held.append(os.stat(f"/proc/{pid}/fd/{fd}"))
        assert held and (root.st_dev, root.st_ino) not in [(info.st_dev, info.st_ino) for info in held], pid


def test_works_without_a_config_file_on_its_defaults(stopped):
    """`--help` names the defaults; nothing here starts on them, since they are the machine's own."""
    done = subprocess.run([str(binaries() / "swiftletd"), "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    for word in ("--config", "--root", "--state", "--socket", "/run/swiftlet/swiftlet.sock"):
        assert word in done.stdout


def test_an_answer_before_recovery_is_unavailable_or_right(make_daemon):
    """No call is ever answered from half-loaded records."""
    daemon = make_daemon()
    pods = {daemon.client.run_pod().id for _ in range(3)}
    daemon.kill()
    codes = set()
    daemon.process = subprocess.Popen(
        daemon.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def complete() -> bool:
        try:
            assert {pod.id for pod in daemon.client.pods()} == pods
            return True
        except grpc.RpcError as error:
            codes.add(error.code())
            return False

    wait.until(complete, "all pods", pause=0.001)
    assert codes <= {grpc.StatusCode.UNAVAILABLE}


def test_a_second_lock_holder_is_really_locked_out(make_daemon):
    """The lock is one that the kernel gives back when the daemon dies."""
    daemon = make_daemon(load=False)
    daemon.kill()
    daemon.start()


def test_directories_with_loose_modes_are_refused_or_tightened(stopped):
    stopped.state.mkdir(mode=0o777)
    stopped.state.chmod(0o777)
    try:
        stopped.start()
    except AssertionError:
        assert str(stopped.state) in stopped.tail()
    else:
        assert os.stat(stopped.state).st_mode & 0o777 == 0o700
