"""Pods with a user namespace of their own: ids, layers and volumes shown with them, what is refused, and that such a
pod is a pod like any other."""

import json
import os
import pathlib
import shutil
import stat

import fcntl
import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER, security
from lib.stubs import pb

HOST, COUNT = 10 * 65536, 65536
NS_GET_USERNS = 0xB701
RUNTIME_DEFAULT = pb.SecurityProfile()
NAMESPACES = ("mnt", "net", "pid", "ipc", "uts", "cgroup")


def mapping(host=HOST, count=COUNT, container=0):
    return pb.IDMapping(host_id=host, container_id=container, length=count)


def users(uids=None, gids=None, mode=pb.POD):
    return pb.UserNamespace(mode=mode, uids=[mapping()] if uids is None else uids,
                            gids=[mapping()] if gids is None else gids)


def sandbox_linux(cri, pid=pb.CONTAINER, sysctls=None, userns=None, context=None, **namespaces):
    options = pb.NamespaceOption(pid=pid, userns_options=userns or users(), **namespaces)
    return pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, sysctls=sysctls or {},
        security_context=pb.LinuxSandboxSecurityContext(namespace_options=options, **(context or {})))


def run_pod(cri, **more):
    """A pod with a user namespace; `more` are namespaces, sysctls, fields of the security context, or of the pod."""
    fields = {name: more.pop(name) for name in ("hostname", "dns_config", "port_mappings") if name in more}
    return cri.run_pod(linux=sandbox_linux(cri, **more), **fields)


def mapped(host, path="/data", **more):
    return pb.Mount(container_path=path, host_path=str(host), uidMappings=[mapping()], gidMappings=[mapping()], **more)


@pytest.fixture
def pod(cri):
    return run_pod(cri)


def owner(pid: int, name: str) -> tuple[int, int]:
    """The user namespace that owns one of a process's namespaces."""
    namespace = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
    try:
        found = fcntl.ioctl(namespace, NS_GET_USERNS)
        try:
            return os.fstat(found).st_dev, os.fstat(found).st_ino
        finally:
            os.close(found)
    finally:
        os.close(namespace)


def identity(pid: int, name: str) -> tuple[int, int]:
    found = os.stat(f"/proc/{pid}/ns/{name}")
    return found.st_dev, found.st_ino


@pytest.mark.parametrize("mode", [pb.POD, pb.CONTAINER])
def test_every_namespace_belongs_to_the_pods(cri, mode):
    pod = run_pod(cri, pid=mode)
    container = pod.run(SLEEPER)
    pause, main = pod.info()["pid"], container.info()["pid"]
    wanted = identity(pause, "user")
    assert wanted != identity(os.getpid(), "user") and identity(main, "user") == wanted
    for pid, names in ((main, NAMESPACES), (pause, NAMESPACES)):
        shared = {"pid"} if pid == pause and mode == pb.CONTAINER else set()  # pause stays in the node's
        for name in set(names) - shared:
            if identity(pid, name) == identity(os.getpid(), name):
                assert name == "cgroup", f"{name} of {pid} is the node's"
            else:
                assert owner(pid, name) == wanted, f"{name} of {pid}"
    assert container.shell("cat /proc/self/uid_map /proc/self/gid_map").split() == ["0", str(HOST), str(COUNT)] * 2
    assert identity(main, "net") == identity(pause, "net") and identity(main, "ipc") == identity(pause, "ipc")
    assert os.stat(f"/proc/{main}").st_uid == HOST


def test_root_inside_is_nobody_outside(pod, daemon):
    """Layers keep their ids, the writable layer has the pod's, and nothing was changed in the image."""
    container = pod.run(SLEEPER)
    text = container.shell("stat -c '%u:%g %n' / /bin/busybox /etc/passwd /home/alice /etc/hosts /etc/hostname "
                           "/etc/resolv.conf /dev /dev/shm /dev/mqueue")
    assert text.splitlines() == [
        "0:0 /", "0:0 /bin/busybox", "0:0 /etc/passwd", "1000:1000 /home/alice", "0:0 /etc/hosts", "0:0 /etc/hostname",
        "0:0 /etc/resolv.conf", "0:0 /dev", "0:0 /dev/shm", "0:0 /dev/mqueue"]
    container.shell("echo x >> /etc/passwd; echo y > /new; chown 1000:50 /new; chmod 600 /home/alice; "
                    "echo 1.2.3.4 name >> /etc/hosts; grep -q name /etc/hosts")
    assert container.shell("stat -c %u:%g /etc/passwd /new /home/alice").split() == ["0:0", "1000:50", "1000:1000"]
    upper = daemon.root / "images" / "snapshots" / container.id / "fs"
    found = {name: os.stat(upper / name) for name in ("etc/passwd", "new", "home/alice", ".")}
    assert [(found[n].st_uid - HOST, found[n].st_gid - HOST) for n in ("etc/passwd", "new", "home/alice", ".")] == [
        (0, 0), (1000, 50), (1000, 1000), (0, 0)]


def test_files_of_root_in_the_layer_are_no_roots_on_the_node(pod, daemon):
    """A setuid program that the container's root makes: root inside, nobody outside."""
    container = pod.run(SLEEPER)
    container.shell("cp /bin/busybox /evil && chmod 4755 /evil")
    assert container.shell("stat -c %u:%a /evil") == "0:4755\n"
    found = os.stat(daemon.root / "images" / "snapshots" / container.id / "fs" / "evil")
    assert (found.st_uid, found.st_mode & 0o7777) == (HOST, 0o4755)
    answer = container.execute("mknod", "/disk", "b", "8", "0")
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr


def test_a_volume_with_mapped_ids(pod, tmp_path):
    """What root writes inside is root's on the volume, as with any other pod's; what is nobody's stays so."""
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("roots\n")
    (tmp_path / "alices").write_text("hers\n")
    os.chown(tmp_path / "alices", 1000, 1000)
    (tmp_path / "beyond").write_text("")
    os.chown(tmp_path / "beyond", COUNT + 5, COUNT + 5)
    container = pod.run(SLEEPER, mounts=[mapped(tmp_path), mapped(tmp_path, "/ro", readonly=True)])
    text = container.shell("cd /data; stat -c '%u:%g' . file alices beyond; echo more >> file; echo new > made; "
                           "chown 1000:1000 made; cp /bin/busybox suid; chmod 4755 suid")
    assert text.split() == ["0:0", "0:0", "1000:1000", "65534:65534"]
    assert (tmp_path / "file").read_text() == "roots\nmore\n"
    made, suid = os.stat(tmp_path / "made"), os.stat(tmp_path / "suid")
    assert (made.st_uid, made.st_gid, suid.st_uid) == (1000, 1000, 0)
    assert container.execute("touch", "/ro/x").exit_code != 0
    assert container.execute("chown", "0", "/data/beyond").exit_code != 0


def test_a_volume_without_mapped_ids_is_somebody_elses(pod, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    container = pod.run(SLEEPER, mounts=[pb.Mount(container_path="/data", host_path=str(tmp_path))])
    assert container.shell("stat -c %u:%g /data/secret") == "65534:65534\n"
    for command in ("cat /data/secret", "touch /data/x", "chown 0 /data/secret", "rm /data/secret"):
        assert container.execute("sh", "-c", command).exit_code != 0, command


def device(*mounts: tuple[str, str, list[str]]) -> str:
    """A specification of the CDI device `v/c=d` that brings these mounts."""
    edits = {"mounts": [dict(zip(("hostPath", "containerPath", "options"), mount)) for mount in mounts]}
    return json.dumps({"cdiVersion": "0.7.0", "kind": "v/c", "devices": [{"name": "d", "containerEdits": edits}]})


@pytest.fixture
def specs(daemon):
    """The file of the node's one CDI specification."""
    directory = daemon.device_specs[0]
    directory.mkdir(parents=True)
    yield directory / "v.json"
    shutil.rmtree(directory.parent)


def test_what_a_device_mounts_has_the_pods_ids(pod, specs, tmp_path):
    """The node's root's files are the container's root's, as they would be without a user namespace."""
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "key").chmod(0o600)
    asked = [pb.CDIDevice(name="v/c=d")]
    specs.write_text(device((str(tmp_path), "/device", ["rbind"]), (str(tmp_path), "/fixed", ["ro", "rbind"])))
    container = pod.run(SLEEPER, CDI_devices=asked)
    text = container.shell("stat -c %u:%g /device /fixed/key; cat /fixed/key; echo new > /device/made")
    assert text.split() == ["0:0", "0:0", "secret"] and (tmp_path / "made").stat().st_uid == 0
    assert container.execute("touch", "/fixed/x").exit_code != 0
    for mount, code, words in [
            (("/sys/kernel", "/device", ["rbind"]), grpc.StatusCode.FAILED_PRECONDITION, ["/sys/kernel on sysfs"]),
            ((str(tmp_path), "/device", ["rbind", "rshared"]), grpc.StatusCode.INVALID_ARGUMENT, ["shared"])]:
        specs.write_text(device(mount))
        refused = pod.create_refused(SLEEPER, name="other", CDI_devices=asked)
        assert refused.code == code, refused
        assert not [word for word in ["CDI mount at /device", *words] if word not in refused.text], refused


def test_a_file_system_that_cannot_map_ids_is_refused(pod, tmp_path):
    refused = pod.create_refused(["true"], mounts=[mapped("/sys/kernel", "/data")])
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION, refused
    for word in ("mounts[0]", "/data", "/sys/kernel", "sysfs"):
        assert word in refused.text, refused.text


@pytest.mark.parametrize("fields, word", [
    (dict(uidMappings=[mapping(host=HOST + 1)], gidMappings=[mapping()]), "differ"),
    (dict(uidMappings=[mapping()]), "differ"),
    (dict(gidMappings=[mapping()]), "differ"),
    (dict(propagation=pb.PROPAGATION_BIDIRECTIONAL), ""),
])
def test_mounts_that_make_no_sense_are_refused(pod, tmp_path, fields, word):
    mount = pb.Mount(container_path="/data", host_path=str(tmp_path), **fields)
    refused = pod.create_refused(["true"], mounts=[mount])
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and word in refused.text, refused


def test_mappings_need_a_user_namespace(cri, tmp_path):
    refused = cri.run_pod().create_refused(["true"], mounts=[mapped(tmp_path)])
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "user namespace" in refused.text


@pytest.mark.parametrize("options, word", [
    (users(uids=[mapping(), mapping(host=HOST + COUNT, container=COUNT)]), "exactly one"),
    (users(gids=[]), "exactly one"),
    (users(uids=[mapping(container=1)]), "id 0"),
    (users(gids=[mapping(count=0)]), "length"),
    (users(uids=[mapping(host=0)]), "host_id"),
    (users(uids=[mapping(host=2**32 - 100)]), "host_id"),
    (users(mode=pb.CONTAINER), "mode"),
    (users(mode=pb.TARGET), "mode"),
    (users(mode=pb.NODE), "NODE"),
])
def test_user_namespaces_that_are_refused(cri, options, word):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(linux=sandbox_linux(cri, userns=options)))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "userns_options" in refused.text and word in refused.text, refused.text
    assert not cri.pods()


def test_a_container_must_have_its_pods(cri, pod):
    for options in (pb.NamespaceOption(pid=pb.CONTAINER),
                    pb.NamespaceOption(pid=pb.CONTAINER, userns_options=users(uids=[mapping(host=HOST + COUNT)]))):
        config = pod.container_config(["true"])
        config.linux.security_context.namespace_options.CopyFrom(options)
        refused = pod.create_refused(config=config)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "userns_options" in refused.text
    other = cri.run_pod()
    config = other.container_config(["true"])
    config.linux.security_context.namespace_options.userns_options.CopyFrom(users())
    assert other.create_refused(config=config).code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("fields, word", [
    (dict(run_as_user=pb.Int64Value(value=COUNT)), "run_as_user"),
    (dict(run_as_user=pb.Int64Value(value=1), run_as_group=pb.Int64Value(value=COUNT)), "run_as_group"),
    (dict(supplemental_groups=[COUNT]), "supplemental_groups"),
])
def test_ids_that_the_pod_does_not_have_are_refused(pod, fields, word):
    refused = pod.create_refused(["true"], linux=security(**fields))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and word in refused.text, refused


def test_the_status_gives_back_what_was_asked(pod, cri):
    options = pod.status().linux.namespaces.options
    assert options == pod.config.linux.security_context.namespace_options
    container = pod.run(SLEEPER, linux=security(
        run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=50), supplemental_groups=[7]))
    user = container.status().user.linux
    assert (user.uid, user.gid, list(user.supplemental_groups)) == (1000, 50, [7, 50, 1234])
    assert container.shell("id -u; id -g; id -G").split() == ["1000", "50", "50", "7", "1234"]
    status = cri.call("Status", verbose=True)
    handlers = {handler.name: handler.features for handler in status.runtime_handlers}
    assert handlers[""].user_namespaces and handlers[""].recursive_read_only_mounts
    assert status.features.supplemental_groups_policy and status.features.user_namespaces_host_network
    assert '"stateDir"' in status.info["config"]


def test_such_a_pod_is_a_pod_like_any_other(cri, daemon):
    """Name, sysctls, network, low ports, ping, shared memory, terminals' group, logs, exec, score."""
    pod = run_pod(cri, hostname="inside", sysctls={
        "net.ipv4.tcp_keepalive_time": "123", "kernel.shm_rmid_forced": "1", "kernel.msgmax": "4096"})
    container = pod.run(
        ["sh", "-c", "echo out; echo err >&2; echo again > /dev/stdout; nc -ll -p 80 -e cat & exec sleep 3600"],
        linux=pb.LinuxContainerConfig(
            resources=pb.LinuxContainerResources(oom_score_adj=500),
            security_context=pb.LinuxContainerSecurityContext(
                run_as_user=pb.Int64Value(value=1000), seccomp=RUNTIME_DEFAULT, no_new_privs=True)))
    # Standard error goes a way of its own.
    wait.until(lambda: set(container.log_text().split()) == {"out", "err", "again"}, "log")
    wait.until(lambda: ":0050 " in container.shell("cat /proc/net/tcp /proc/net/tcp6"), "listening server")
    text = container.shell("hostname; cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/kernel/shm_rmid_forced "
                           "/proc/sys/kernel/msgmax /proc/self/oom_score_adj /proc/1/oom_score_adj; id -u; "
                           "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo x > /dev/shm/x; cat /dev/shm/x; "
                           "echo exec > /dev/stderr")
    assert text.split() == ["inside", "123", "1", "4096", "500", "500", "1000", "0", "x"]
    assert container.shell("cat /proc/sys/net/ipv4/ping_group_range").split() == ["0", str(COUNT - 1)]
    assert "Seccomp:\t2" in container.shell("cat /proc/self/status")
    daemon.node.inside.connect(pod.ip, 80).close()
    second = pod.run(SLEEPER, name="second")
    second.shell("ping -c1 -W30 127.0.0.1 > /dev/null")
    assert second.shell("cat /dev/shm/x") == "x\n"
    # The kernel tells it in the node's ids.
    assert second.shell("grep ' /dev/pts ' /proc/self/mountinfo | grep -o 'gid=[0-9]*'") == f"gid={HOST + 5}\n"
    container.client.call("StopContainer", container_id=container.id, timeout=0)
    assert container.wait().exit_code == 137


def test_modes_of_the_other_namespaces(cri, daemon):
    pod = run_pod(cri, pid=pb.POD)
    target = pod.run(SLEEPER, name="target")
    config = pod.container_config(SLEEPER, name="guest")
    config.linux.security_context.namespace_options.pid = pb.TARGET
    config.linux.security_context.namespace_options.target_id = target.id
    guest = pod.create(config=config).start()
    assert identity(guest.info()["pid"], "pid") == identity(target.info()["pid"], "pid")
    assert "pause" in target.shell("cat /proc/1/comm")
    node = run_pod(cri, hostname="", network=pb.NODE, pid=pb.NODE, ipc=pb.NODE)
    container = node.run(SLEEPER)
    pid = container.info()["pid"]
    assert identity(pid, "user") != identity(os.getpid(), "user")
    assert identity(pid, "pid") == identity(os.getpid(), "pid") and identity(pid, "ipc") == identity(os.getpid(), "ipc")
    assert identity(pid, "net")[1] == daemon.node.inside.inode
    assert "uplink" in container.shell("ls /sys/class/net")
    assert container.execute("sh", "-c", "ip link set uplink down").exit_code != 0
    assert container.execute("sh", "-c", f"kill -0 {os.getpid()}").exit_code != 0


def test_the_nodes_processes_are_for_pods_that_have_them(pod):
    config = pod.container_config(SLEEPER)
    config.linux.security_context.namespace_options.pid = pb.NODE
    refused = pod.create_refused(config=config)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "namespace_options.pid: NODE" in refused.text, refused


def test_a_read_only_root_and_missing_directories(pod):
    container = pod.run(SLEEPER, working_dir="/made/here", linux=security(readonly_rootfs=True))
    assert container.shell("pwd; stat -c %u:%g /made /made/here").split() == ["/made/here", "0:0", "0:0"]
    assert b"ead-only" in container.execute("touch", "/x").stderr
    answer = container.execute("mount", "-o", "remount,rw", "/")
    assert answer.exit_code != 0


def test_privileged_is_privileged_in_the_pod_alone(cri):
    context = dict(privileged=True)
    pod = run_pod(cri, context=context)
    container = pod.run(SLEEPER, linux=security(privileged=True))
    container.shell("mount -t tmpfs none /tmp && mkdir /tmp/proc && mount -t proc none /tmp/proc && "
                    "hostname changed && ip addr add 10.9.9.9/32 dev lo")
    assert container.shell("hostname") == "changed\n"
    # The node's devices are there and stay the node's root's.
    disks = container.shell("find /dev -type b").split()
    for disk in disks[:3]:
        assert container.shell(f"stat -c %u {disk}") == "65534\n"
        assert container.execute("sh", "-c", f"head -c 1 {disk}").exit_code != 0, disk
    for command in ("echo 1 > /proc/sys/kernel/printk", "echo h > /proc/sysrq-trigger", "mknod /x c 1 1",
                    "echo 3 > /proc/sys/vm/drop_caches", "swapoff -a && false", "insmod /bin/busybox"):
        assert container.execute("sh", "-c", command).exit_code != 0, command


def test_a_requested_device_keeps_the_nodes_owner(pod, tmp_path):
    """Its owner is one of the node's ids, and so nobody's in the pod; what others may do counts."""
    for name, mode in (("closed", 0o660), ("open", 0o666)):
        os.mknod(tmp_path / name, stat.S_IFCHR | mode, os.makedev(1, 5))
        os.chmod(tmp_path / name, mode)
    container = pod.run(SLEEPER, devices=[
        pb.Device(host_path=str(tmp_path / name), container_path=f"/dev/{name}", permissions="r")
        for name in ("closed", "open")])
    assert container.shell("stat -c '%t:%T %a %u:%g' /dev/closed").split() == ["1:5", "660", "65534:65534"]
    assert container.execute("head", "-c", "1", "/dev/open").exit_code == 0
    assert container.execute("head", "-c", "1", "/dev/closed").exit_code != 0


def test_pause_is_whom_the_pod_names(cri):
    pod = run_pod(cri, context=dict(
        run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=50), supplemental_groups=[7]))
    status = pathlib.Path(f"/proc/{pod.info()['pid']}/status").read_text()
    found = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines() if ":" in line}
    assert found["Uid"] == [str(HOST + 1000)] * 4 and found["Gid"] == [str(HOST + 50)] * 4
    assert found["Groups"] == [str(HOST + 7), str(HOST + 50)] and int(found["CapEff"][0], 16) == 0


def test_a_daemon_that_starts_again_knows_such_pods(cri, daemon, tmp_path):
    pod = run_pod(cri)
    container = pod.run(SLEEPER)
    daemon.terminate()
    daemon.start()
    assert container.shell("stat -c %u /bin/busybox") == "0\n"
    second = pod.run(SLEEPER, name="second", mounts=[mapped(tmp_path)])
    assert second.shell("stat -c %u /data; cat /proc/self/uid_map").split() == ["0", "0", str(HOST), str(COUNT)]
    pod.stop()
    pod.remove()


def test_images_as_volumes_and_declared_ones(pod, image):
    """Both show an image's files with the ids that they have in it."""
    from lib import oci, tar

    layer = oci.Layer.of(tar.directory("vol/"), tar.file("vol/hers", "x", uid=1000, gid=50), tar.file("vol/roots", "y"))
    name = image(layer, Volumes={"/vol": {}})
    mounts = [pb.Mount(container_path="/whole", image=pb.ImageSpec(image=name), readonly=True),
              pb.Mount(container_path="/part", image=pb.ImageSpec(image=name), readonly=True, image_sub_path="vol")]
    container = pod.run(SLEEPER, image=name, mounts=mounts)
    text = container.shell("stat -c %u:%g /vol /vol/hers /vol/roots /whole/vol/hers /part/hers; echo z >> /vol/roots; "
                           "chown 7 /vol/hers; stat -c %u /vol/hers")
    assert text.split() == ["0:0", "1000:50", "0:0", "1000:50", "1000:50", "7"]
    assert container.execute("touch", "/part/x").exit_code != 0
