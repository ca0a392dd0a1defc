"""Fields of a requested mount beside the plain bind mounts of test_files.py: propagation, options, order, places."""

import contextlib
import ctypes
import os
import pathlib
import subprocess

import grpc
import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LIBC = ctypes.CDLL(None, use_errno=True)


def mount_lines(container) -> dict[str, list[str]]:
    """The lines of the container's mountinfo by mount point."""
    return {line.split()[4]: line.split() for line in container.shell("cat /proc/self/mountinfo").splitlines()}


@contextlib.contextmanager
def shared_tree(path: pathlib.Path, mode: str = "--make-shared"):
    """A mount of its own at `path`, with that propagation."""
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tree", str(path)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(path)], check=True)
        subprocess.run(["mount", mode, str(path)], check=True)
        yield path
    finally:
        subprocess.run(["umount", "-R", str(path)], check=True)


def privileged(cri):
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))


def test_propagation_in_three_modes(cri, tmp_path):
    """What the node mounts later arrives, or does not; what a container mounts shows on the node, or does not."""
    with shared_tree(tmp_path / "tree") as tree:
        for name in ("private", "slave", "shared", "late"):
            (tree / name).mkdir()
        (tmp_path / "link").symlink_to("tree")
        pod = privileged(cri)
        container = pod.run(SLEEPER, linux=security(privileged=True), mounts=[
            pb.Mount(container_path="/private", host_path=str(tree)),
            pb.Mount(container_path="/slave", host_path=str(tree), propagation=pb.PROPAGATION_HOST_TO_CONTAINER),
            # by a link from a mount that is not shared
            pb.Mount(container_path="/shared", host_path=str(tmp_path / "link"),
                     propagation=pb.PROPAGATION_BIDIRECTIONAL)])
        assert [word for word in mount_lines(container)["/"] if word.startswith("shared:")]
        subprocess.run(["mount", "-t", "tmpfs", "late", str(tree / "late")], check=True)
        (tree / "late" / "file").write_text("late\n")
        assert container.shell("cat /slave/late/file /shared/late/file; ls /private/late") == "late\nlate\n"
        for name in ("private", "slave", "shared"):
            container.shell(f"mount -t tmpfs inner /{name}/{name} && touch /{name}/{name}/here")
        assert [name for name in ("private", "slave", "shared") if (tree / name / "here").exists()] == ["shared"]
        pod.stop()


@pytest.mark.parametrize("mode, propagation, code", [
    ("--make-private", pb.PROPAGATION_BIDIRECTIONAL, INVALID),
    ("--make-private", pb.PROPAGATION_HOST_TO_CONTAINER, INVALID),
    ("--make-unbindable", pb.PROPAGATION_HOST_TO_CONTAINER, INVALID),
    ("--make-shared", pb.PROPAGATION_HOST_TO_CONTAINER, None),
])
def test_propagation_wants_a_mount_that_has_it(pod, tmp_path, mode, propagation, code):
    with shared_tree(tmp_path / "tree", mode) as tree:
        mounts = [pb.Mount(container_path="/x", host_path=str(tree / "below"), propagation=propagation)]
        if code:
            refused = pod.create_refused(["true"], mounts=mounts)
            assert refused.code == code and "mounts[0]" in refused.text and str(tree) in refused.text, refused
        else:
            assert pod.output("ls -d /x", mounts=mounts) == "/x\n"
            pod.stop()


def test_a_slave_tree_serves_host_to_container_only(pod, tmp_path):
    with shared_tree(tmp_path / "tree") as tree, contextlib.ExitStack() as stack:
        slave = tmp_path / "slave"
        slave.mkdir()
        subprocess.run(["mount", "--bind", str(tree), str(slave)], check=True)
        stack.callback(subprocess.run, ["umount", str(slave)], check=True)
        subprocess.run(["mount", "--make-slave", str(slave)], check=True)
        one = pb.Mount(container_path="/x", host_path=str(slave), propagation=pb.PROPAGATION_HOST_TO_CONTAINER)
        assert pod.output("ls -d /x", mounts=[one]) == "/x\n"
        two = pb.Mount(container_path="/x", host_path=str(slave), propagation=pb.PROPAGATION_BIDIRECTIONAL)
        assert pod.create_refused(["true"], mounts=[two]).code == INVALID
        pod.stop()


def test_read_only_and_what_is_mounted_below(pod, tmp_path):
    """Read-only is the mount itself; recursive read-only is all of it. The source keeps its own flags."""
    with shared_tree(tmp_path / "tree", "--make-private") as tree:
        (tree / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev", "below", str(tree / "below")], check=True)
        container = pod.run(SLEEPER, mounts=[
            pb.Mount(container_path="/ro", host_path=str(tree), readonly=True),
            pb.Mount(container_path="/rro", host_path=str(tree), readonly=True, recursive_read_only=True)])
        codes = [container.execute("touch", path).exit_code
                 for path in ("/ro/x", "/ro/below/x", "/rro/x", "/rro/below/x")]
        assert codes == [1, 0, 1, 1]
        lines = mount_lines(container)
        assert {"nosuid", "nodev"} <= set(lines["/ro/below"][5].split(","))
        assert {"ro", "nosuid", "nodev"} <= set(lines["/rro/below"][5].split(","))
        pod.stop()


@pytest.mark.parametrize("fields", [
    dict(), dict(readonly=True, propagation=pb.PROPAGATION_HOST_TO_CONTAINER),
    dict(readonly=True, propagation=pb.PROPAGATION_BIDIRECTIONAL),
])
def test_recursive_read_only_wants_readonly_and_private(pod, fields):
    with shared_tree(pathlib.Path("/var/tmp") / f"rro-{pod.id[:8]}") as tree:
        refused = pod.create_refused(["true"], mounts=[
            pb.Mount(container_path="/x", host_path=str(tree), recursive_read_only=True, **fields)])
        assert refused.code == INVALID and "mounts[0].recursive_read_only" in refused.text
    os.rmdir(tree)


def test_mount_options(cri, pod, tmp_path):
    features = cri.call("Status").features
    assert features.mount_options
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    container = pod.run(SLEEPER, mounts=[
        pb.Mount(container_path="/plain", host_path=str(tmp_path)),
        pb.Mount(container_path="/all", host_path=str(tmp_path),
                 mount_options=["noexec", "nodev", "nosuid", "noexec"])])
    assert container.shell("/plain/program") == "ran\n"
    assert container.execute("sh", "-c", "/all/program").exit_code == 126
    lines = mount_lines(container)
    assert {"noexec", "nodev", "nosuid"} <= set(lines["/all"][5].split(","))
    assert not {"noexec", "nodev", "nosuid"} & set(lines["/plain"][5].split(","))
    for option in ("ro", "exec", "suid", "size=1", "", "noexec,nodev"):
        refused = pod.create_refused(["true"], name="bad", mounts=[
            pb.Mount(container_path="/x", host_path=str(tmp_path), mount_options=["nodev", option])])
        assert refused.code == INVALID and "mounts[0].mount_options" in refused.text, refused


def test_order_duplicates_and_nesting(pod, tmp_path):
    """Parents before children; of two at one place the later one is seen; all are told in the request's order."""
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    mounts = [pb.Mount(container_path="/v/in/deep", host_path=str(tmp_path / "a")),
              pb.Mount(container_path="/v", host_path=str(tmp_path / "b")),
              pb.Mount(container_path="/w", host_path=str(tmp_path / "c")),
              pb.Mount(container_path="/w/", host_path=str(tmp_path / "d")),
              pb.Mount(container_path="/v/in/../one", host_path=str(tmp_path / "a" / "a"))]
    container = pod.run(SLEEPER, mounts=mounts)
    assert container.shell("ls /v /v/in/deep /w; cat /v/one").split() == [
        "/v:", "b", "in", "one", "/v/in/deep:", "a", "/w:", "d", "a"]
    assert list(container.status().mounts) == mounts


def test_more_mounts_than_there_can_be(pod, tmp_path):
    mounts = [pb.Mount(container_path=f"/m/{number}", host_path=str(tmp_path)) for number in range(10_001)]
    refused = pod.create_refused(["true"], mounts=mounts)
    assert refused.code == INVALID and "mounts: 10001" in refused.text


def test_kinds_must_fit(pod, tmp_path):
    """No directory is mounted over a file, nor a file over a directory; a dangling host path is not made."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for number, (path, source) in enumerate([
            ("/etc/passwd", tmp_path), ("/etc", tmp_path / "file"), ("/x", tmp_path / "dangling"),
            ("/x", tmp_path / "file" / "below")]):
        container = pod.create(["true"], name=f"c{number}", mounts=[
            pb.Mount(container_path=path, host_path=str(source))])
        refused = container.start_refused()
        assert path in refused.text or str(source) in refused.text, refused
        assert container.status().reason == "StartError"
    assert not (tmp_path / "nowhere").exists()


def test_files_of_procfs_that_lxcfs_replaces(pod, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 42 kB\n")
    mount = pb.Mount(container_path="/proc/meminfo", host_path=str(tmp_path / "meminfo"), readonly=True)
    assert pod.output("cat /proc/meminfo; [ -e /proc/self/status ]", mounts=[mount]) == "MemTotal: 42 kB\n"
    for path in ("/proc/version", "/proc/meminfo/..", "/proc", "/"):
        refused = pod.create_refused(["true"], mounts=[
            pb.Mount(container_path=path, host_path=str(tmp_path / "meminfo"))])
        assert refused.code == INVALID and "mounts[0].container_path" in refused.text, refused


def test_shm_is_one_of_the_pod_and_of_its_size(cri, pod):
    first = pod.run(SLEEPER, name="first")
    second = pod.run(SLEEPER, name="second", linux=security(readonly_rootfs=True))
    first.shell("echo shared > /dev/shm/x")
    assert second.shell("cat /dev/shm/x; echo more > /dev/shm/y") == "shared\n"
    assert "65536" in first.shell("df -k /dev/shm").split()
    assert cri.run_pod().output("ls /dev/shm") == ""
