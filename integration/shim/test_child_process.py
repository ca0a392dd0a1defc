"""What a container's first process and an exec are: identity, capabilities, filters, descriptors, signals, session."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest

from lib import wait
from child import DESCRIPTORS, deny, output, refused, same_node_mounts, status_of, usual  # noqa: F401
from pod import CONTAINER, DEFAULT_CAPABILITIES, NODE, POD, TARGET
from ttrpc import ShimError, pb

STATUS = "cat /proc/self/status"
MKDIR = {"x86_64": 83, "aarch64": 34}[os.uname().machine]


def test_capabilities_are_the_ones_asked_for(pod):
    status = status_of(output(pod, usual(pod, "c", STATUS)))
    assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == int(status["CapEff"], 16) == DEFAULT_CAPABILITIES
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "0"


def test_L19_no_inheritable_capabilities_for_start_exec_and_user(pod):
    request = usual(pod, "c", f"{STATUS}; sleep 1000")
    request.process.user.CopyFrom(pb.User(uid=1000, gid=2000, groups=[2000, 3000]))
    pod.client.call("Start", request)
    run = pod.exec_request("c", STATUS)
    run.process.user.CopyFrom(request.process.user)
    status = status_of(pod.client.call("ExecSync", run).stdout.decode())
    assert status["Uid"].split() == ["1000"] * 4 and status["Gid"].split() == ["2000"] * 4
    assert status["Groups"].split() == ["2000", "3000"]
    assert int(status["CapBnd"], 16) == DEFAULT_CAPABILITIES
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name


def test_ambient_capabilities_reach_a_user(pod):
    request = usual(pod, "c", STATUS)
    bind = 1 << 10
    request.process.user.CopyFrom(pb.User(uid=1000, gid=1000, groups=[1000]))
    request.process.capabilities.inheritable = request.process.capabilities.ambient = bind
    status = status_of(output(pod, request))
    assert int(status["CapAmb"], 16) == int(status["CapEff"], 16) == bind


@pytest.mark.parametrize("no_new_privs", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_seccomp_filter_is_loaded_and_effective(pod, no_new_privs, uid):
    request = usual(pod, "c", f"{STATUS}; mkdir /tmp/x 2>/dev/null || echo denied")
    request.process.no_new_privs = no_new_privs
    request.process.user.CopyFrom(pb.User(uid=uid, gid=uid, groups=[uid]))
    request.process.seccomp = deny(MKDIR, errno.EPERM)
    said = output(pod, request)
    status = status_of(said)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == str(int(no_new_privs))
    assert int(status["CapEff"], 16) == (DEFAULT_CAPABILITIES if uid == 0 else 0)
    assert said.endswith("denied")


def test_V12_a_broken_filter_stops_the_start(pod):
    request = usual(pod, "c", "true")
    request.process.seccomp = b"\xff" * 8
    failure = refused(pod, request)
    assert failure.step == "load seccomp filter" and failure.errno == errno.EINVAL


def test_V5_only_three_descriptors_cross_exec(pod):
    assert output(pod, usual(pod, "c", DESCRIPTORS)).split() == ["0", "1", "2"]


def test_L33_signals_umask_session_and_keyring_are_reset(pod):
    said = output(pod, usual(pod, "c", f"{STATUS}; umask; cat /proc/self/stat; cat /proc/self/keys 2>/dev/null"))
    status = status_of(said)
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0
    assert "\n0022\n" in said
    stat = said[said.index("\n0022\n") + 6 :].splitlines()[0].split()
    assert stat[5] == "1", "the session is the container's own"


def test_L34_exec_gets_what_start_gets(pod):
    names = (
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigIgn",
        "SigBlk",
        "SigCgt",
    )
    request = usual(pod, "c", f"{STATUS}; echo ready; sleep 1000")
    request.process.seccomp = deny(MKDIR, errno.EPERM)
    pod.client.call("Start", request)
    pod.wait_log("c", "ready")
    run = pod.exec_request("c", f"{STATUS}; true")
    run.process.seccomp = request.process.seccomp
    second = status_of(pod.client.call("ExecSync", run).stdout.decode())
    first = status_of("\n".join(content for _, _, content in pod.log("c")))
    assert {name: first[name] for name in names} == {name: second[name] for name in names}


def test_command_is_found_in_the_containers_path(pod):
    request = usual(pod, "c", "")
    del request.process.argv[:]
    request.process.argv.extend([b"echo", b"found"])
    request.process.env.append(b"X=1")
    assert output(pod, request) == "found"


@pytest.mark.parametrize(
    "argv,number",
    [([b"nothing"], errno.ENOENT), ([b"/nothing"], errno.ENOENT), ([b"/etc"], errno.EACCES), ([b""], errno.ENOENT)],
)
def test_what_cannot_be_execed_says_so(pod, argv, number):
    request = usual(pod, "c", "")
    del request.process.argv[:]
    request.process.argv.extend(argv)
    failure = refused(pod, request)
    assert (failure.step, failure.errno) == ("exec", number)
    assert argv[0].decode() in failure.subject or not argv[0]


def test_bytes_of_argv_and_env_arrive_unchanged(pod):
    request = usual(pod, "c", "")
    request.process.argv[2:] = [b'printf "%s|%s" "$1" "$V"', b"sh", b"\xff\xfe a\tb"]
    request.process.env.append(b"V=\x80 ' \" $x")
    pod.client.call("Start", request)
    pod.wait_exit("c")
    assert b"\xff\xfe a\tb|\x80 ' \" $x" in pod.log_path("c").read_bytes()


def test_a_zero_byte_in_argv_is_refused(pod):
    request = usual(pod, "c", "")
    request.process.argv[2:] = [b"echo a\0b"]
    assert refused(pod, request).step == "request"


def test_oom_score_adj_is_written_by_the_nodes_procfs(pod):
    request = usual(pod, "c", "cat /proc/self/oom_score_adj")
    request.process.set_oom_score_adj = True
    request.process.oom_score_adj = 321
    assert output(pod, request) == "321"


def groups_of(pid: int | str) -> set[str]:
    return {line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


def test_processes_are_in_their_cgroups(pod):
    started = pod.run("c", "sleep 1000")
    assert f"{pod.group.path}c" in groups_of(started.pid)
    for directory in (
        pathlib.Path(path) for group in pod.groups for path in group.directories if group.path.endswith("/c")
    ):
        assert str(started.pid) in (directory / "cgroup.procs").read_text().split(), directory
    run = pod.exec_request("c", "cat /proc/self/cgroup; true")
    said = pod.client.call("ExecSync", run).stdout.decode()
    assert "exec-" in said


def test_a_missing_cgroup_stops_the_start(pod):
    request = usual(pod, "c", "true")
    request.cgroup.directories.append("/sys/fs/cgroup/memory/swiftlet-nothing")
    failure = refused(pod, request)
    assert (failure.step, failure.errno) == ("join cgroup", errno.ENOENT)


def namespaces(pid: int | str) -> dict[str, int]:
    return {name: os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in ("mnt", "pid", "net", "ipc", "uts")}


@pytest.mark.parametrize("pid", [POD, CONTAINER, NODE])
def test_namespaces_by_mode(shim, pid):
    shim.start(pid=pid)
    started = shim.run("c", "sleep 1000")
    mine, pause, container = namespaces("self"), namespaces(shim.response.pause_pid), namespaces(started.pid)
    assert container["mnt"] not in (mine["mnt"], pause["mnt"])
    for name in ("net", "ipc", "uts"):
        assert container[name] == pause[name] != mine[name], name
    expected = {POD: pause["pid"], NODE: mine["pid"]}
    if pid == CONTAINER:
        assert container["pid"] not in (mine["pid"], pause["pid"])
    else:
        assert container["pid"] == expected[pid]
    assert (pause["pid"] == mine["pid"]) == (pid != POD)
    assert shim.execute("c", "hostname").stdout == b"pod\n"
    # The shim itself is where it was, for its next children too.
    assert os.stat(f"/proc/{shim.process.pid}/ns/pid_for_children").st_ino == mine["pid"]


def test_target_joins_another_containers_pid_namespace(pod):
    first = pod.run("first", "sleep 1000")
    request = pod.container_request("second", ["sh", "-c", "sleep 1000"])
    request.namespaces.pid = TARGET
    request.namespaces.target_id = "first"
    second = pod.client.call("Start", request)
    assert namespaces(first.pid)["pid"] == namespaces(second.pid)["pid"]


def test_node_namespaces_are_the_nodes(shim):
    shim.start(network=NODE, pid=NODE, ipc=NODE)
    started = shim.run("c", "sleep 1000")
    mine, container = namespaces("self"), namespaces(started.pid)
    for name in ("pid", "net", "ipc"):
        assert container[name] == mine[name], name
    assert container["mnt"] != mine["mnt"]


def test_pause_holds_nothing_of_the_node(shim):
    shim.start(pid=POD)
    folder = pathlib.Path(f"/proc/{shim.response.pause_pid}")
    # The sandbox is there as soon as the kernel has begun with pause's exec; once it sleeps, it is through with that.
    wait.until(lambda: status_of((folder / "status").read_text())["State"].startswith("S"), "pause to sleep")
    # The pod's shm lies there on kernels that copy no detached mount (before Linux 6.15).
    root = os.listdir(folder / "root")
    assert root in ([], ["shm"])
    assert len((folder / "mountinfo").read_text().splitlines()) == 1 + len(root)
    status = status_of((folder / "status").read_text())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1" and status["NSpid"].split()[-1] == "1"
    assert {os.readlink(link) for link in (folder / "fd").iterdir()} == {"/dev/null"}
    with pytest.raises(OSError) as caught:
        os.open(folder / "exe", os.O_WRONLY)
    assert caught.value.errno in (errno.EROFS, errno.ETXTBSY)


def test_L01_binaries_of_ours_cannot_be_written_through_proc(shim):
    shim.start(pid=POD)
    for pid in (shim.response.pause_pid, shim.process.pid):
        with pytest.raises(OSError) as caught:
            os.open(f"/proc/{pid}/exe", os.O_WRONLY)
        # Not just busy: the mount it was started from is read-only, so it stays so when nobody runs it.
        assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY, caught.value


@pytest.mark.parametrize(
    "name,value",
    [
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
        ("net/../kernel/core_pattern", "x"),
        ("net.ipv4.conf.eth0/1.x", "1"),
        ("kernel.core_pattern", "|/x"),
        ("vm.swappiness", "1"),
        ("kernel.hostname", "x"),
        ("net.ipv4.ip_forward", "1\n0"),
        ("net..ipv4", "1"),
        (".net", "1"),
        ("net.", "1"),
        ("", "1"),
        ("net.ipv4.nothing", "1"),
    ],
)
def test_L29_sysctls_outside_the_pods_namespaces_are_refused(shim, name, value):
    before = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    with pytest.raises(ShimError) as caught:
        shim.start(sysctls=[pb.Sysctl(name=name, value=value)])
    assert "sysctl" in caught.value.failure.step
    assert pathlib.Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.parametrize("mode,name", [({"ipc": NODE}, "kernel.msgmax"), ({"network": NODE}, "net.ipv4.ip_forward")])
def test_L29_sysctls_of_a_shared_namespace_are_refused(shim, mode, name):
    with pytest.raises(ShimError) as caught:
        shim.start(sysctls=[pb.Sysctl(name=name, value="1")], **mode)
    assert caught.value.failure.errno == errno.EPERM


def test_sysctls_are_set_in_the_pod_only(shim):
    before = pathlib.Path("/proc/sys/kernel/msgmax").read_text()
    shim.start(
        sysctls=[
            pb.Sysctl(name="kernel.msgmax", value="12345"),
            pb.Sysctl(name="net/ipv4/ip_unprivileged_port_start", value="7"),
        ]
    )
    shim.run("c", "sleep 1000")
    said = shim.execute("c", "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start").stdout
    assert said == b"12345\n7\n"
    assert pathlib.Path("/proc/sys/kernel/msgmax").read_text() == before
