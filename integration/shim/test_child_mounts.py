"""A container's file systems: the usual ones, binds, masks, read-only paths, devices, propagation."""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import subprocess
import stat

import pytest

from child import output, refused, same_node_mounts, upper, usual  # noqa: F401
from pod import NODE
from ttrpc import pb


def options(mountinfo: str, place: str) -> tuple[set[str], str]:
    """The options and type of the topmost mount at a place."""
    found = [line.split() for line in mountinfo.splitlines() if line.split()[4] == place]
    assert found, f"nothing is mounted at {place}:\n{mountinfo}"
    return set(found[-1][5].split(",")), found[-1][found[-1].index("-") + 1]


def test_usual_mounts(pod):
    info = output(pod, usual(pod, "c", "cat /proc/self/mountinfo"))
    safe = {"nosuid", "nodev", "noexec"}
    for place, kind, flags in (
        ("/", "overlay", {"rw"}),
        ("/proc", "proc", safe | {"rw"}),
        ("/dev", "tmpfs", {"rw", "nosuid"}),
        ("/dev/pts", "devpts", {"nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", safe | {"rw"}),
        ("/dev/mqueue", "mqueue", safe),
        ("/sys", "sysfs", safe | {"ro"}),
        ("/proc/sys", "proc", safe | {"ro"}),
    ):
        have, type = options(info, place)
        assert type == kind and flags <= have, (place, have, type)


def test_nothing_of_the_nodes_tree_is_left(pod):
    info = output(pod, usual(pod, "c", "cat /proc/self/mountinfo"))
    assert all(line.split()[4].startswith(("/", "/proc", "/sys", "/dev")) for line in info.splitlines())
    assert not [line for line in info.splitlines() if "ext4" in line.split(" - ")[1]]


def test_shm_is_shared_in_the_pod_only(pod):
    pod.client.call("Start", usual(pod, "a", "echo shared > /dev/shm/x; echo ready; sleep 1000"))
    pod.wait_log("a", "ready")
    assert output(pod, usual(pod, "b", "cat /dev/shm/x; df -m /dev/shm | tail -1")).split()[:3] == [
        "shared",
        "none",
        "64",
    ]
    assert not pathlib.Path("/dev/shm/x").exists()


def test_shm_of_the_node(shim):
    shim.start(ipc=NODE)
    mark = pathlib.Path(f"/dev/shm/swiftlet-{shim.id[:8]}")
    mark.write_text("node")
    try:
        assert output(shim, usual(shim, "c", f"cat {mark}")) == "node"
    finally:
        mark.unlink()


@pytest.mark.parametrize("fake", [False, True])
def test_L12_readonly_root(pod, fake):
    request = usual(
        pod, "c", "touch /x 2>&1; touch /tmp/x 2>&1; touch /dev/shm/x && echo fine", rootfs=pb.Rootfs(readonly=True)
    )
    if fake:
        from child import hostile

        layer = hostile(pod, request)
        (layer / "proc/self/fd").mkdir(parents=True)
        for number in range(32):
            os.symlink("/tmp", layer / f"proc/self/fd/{number}")
    said = output(pod, request)
    assert said.count("Read-only file system") == 2 and said.endswith("fine")


def test_L25_bind_flags(pod):
    source = pod.directory / "volume"
    source.mkdir()
    (source / "f").write_text("here")
    mounts, expected = [], {}
    for number in range(16):
        flags = {name for bit, name in enumerate(("readonly", "nosuid", "nodev", "noexec")) if number >> bit & 1}
        mounts.append(
            pb.Mount(destination=f"/v/{number}", type="bind", source=str(source), **dict.fromkeys(flags, True))
        )
        expected[f"/v/{number}"] = {"ro" if name == "readonly" else name for name in flags}
    info = output(pod, usual(pod, "c", "cat /v/15/f /proc/self/mountinfo", mounts=mounts))
    assert info.startswith("here")
    for place, wanted in expected.items():
        have, _ = options(info[4:], place)
        assert have & {"ro", "nosuid", "nodev", "noexec"} == wanted, place


def test_recursive_readonly_and_readonly(pod):
    """Read-only is the top mount only; recursive read-only is all that is below it."""
    libc = ctypes.CDLL(None, use_errno=True)
    source = pod.directory / "tree"
    (source / "below").mkdir(parents=True)
    assert libc.mount(b"none", bytes(source / "below"), b"tmpfs", 0, None) == 0
    try:
        said = output(
            pod,
            usual(
                pod,
                "c",
                "touch /a/x || echo a; touch /a/below/x || echo ab; touch /b/x || echo b; touch /b/below/x || echo bb",
                mounts=[
                    pb.Mount(destination="/a", type="bind", source=str(source), recursive=True, readonly=True),
                    pb.Mount(
                        destination="/b",
                        type="bind",
                        source=str(source),
                        recursive=True,
                        readonly=True,
                        recursive_readonly=True,
                    ),
                ],
            ),
        )
        assert said.split() == ["a", "b", "bb"]
    finally:
        assert libc.umount2(bytes(source / "below"), 0) == 0


def test_file_bind_and_missing_source(pod):
    missing = pod.directory / "made/by/mount"
    plain = pod.directory / "file"
    plain.write_text("content")
    request = usual(
        pod,
        "c",
        "cat /etc/new/file; ls -ld /v | cut -c1-10",
        mounts=[
            pb.Mount(destination="/etc/new/file", type="bind", source=str(plain)),
            pb.Mount(destination="/v", type="bind", source=str(missing), create_source=True),
        ],
    )
    assert output(pod, request) == "contentdrwxr-xr-x"
    assert stat.S_IMODE(missing.stat().st_mode) == 0o755
    failure = refused(
        pod,
        usual(
            pod, "d", "true", mounts=[pb.Mount(destination="/v", type="bind", source=str(pod.directory / "nothing"))]
        ),
    )
    assert (failure.step, failure.errno) == ("bind source", errno.ENOENT)
    assert failure.subject == str(pod.directory / "nothing")


def test_host_symlinks_of_a_source_are_followed(pod):
    (pod.directory / "real").mkdir()
    (pod.directory / "real/f").write_text("real")
    os.symlink("real", pod.directory / "link")
    assert (
        output(
            pod,
            usual(
                pod,
                "c",
                "cat /v/f",
                mounts=[pb.Mount(destination="/v", type="bind", source=str(pod.directory / "link"))],
            ),
        )
        == "real"
    )


def test_devices_are_made_in_the_tmpfs(pod):
    devices = [
        pb.Device(path="/dev/zero", type="c", major=1, minor=5, mode=0o666),
        pb.Device(path="/dev/dri/card", type="c", major=226, minor=0, mode=0o640, uid=7, gid=8),
        pb.Device(path="/dev/loopy", type="b", major=7, minor=1, mode=0o600),
    ]
    said = output(
        pod,
        usual(
            pod,
            "c",
            "stat -c '%n %F %a %u %g %t:%T' /dev/null /dev/zero /dev/dri/card /dev/loopy;"
            " readlink /dev/ptmx; readlink /dev/fd",
            devices=devices,
        ),
    )
    assert said.splitlines() == [
        "/dev/null character special file 666 0 0 1:3",
        "/dev/zero character special file 666 0 0 1:5",
        "/dev/dri/card character special file 640 7 8 e2:0",
        "/dev/loopy block special file 600 0 0 7:1",
        "pts/ptmx",
        "/proc/self/fd",
    ]


def test_a_volume_on_dev_stays_as_it_is(pod):
    volume = pod.directory / "volume"
    volume.mkdir()
    request = usual(pod, "c", "ls /dev | wc -l", mounts=[pb.Mount(destination="/dev", type="bind", source=str(volume))])
    for mount in [mount for mount in request.mounts if mount.destination.startswith("/dev") and mount.type != "bind"]:
        request.mounts.remove(mount)
    assert output(pod, request) == "0"
    assert os.listdir(volume) == []


def test_devices_below_the_usual_mount_points(pod):
    devices = [pb.Device(path="/dev/pts/7", type="c", major=136, minor=7, mode=0o620)]
    assert output(pod, usual(pod, "c", "ls /dev/pts", devices=devices)) == "ptmx"


def test_masked_and_readonly_paths(pod):
    request = usual(
        pod,
        "c",
        "; ".join(
            [
                "wc -c < /proc/interrupts",
                "ls /sys/firmware | wc -l",
                "ls /secret | wc -l",
                "cat /bin/masked; echo $?",
                "touch /sys/firmware/x 2>&1",
                "echo 1 > /proc/sys/kernel/domainname",
                "touch /tmp/x 2>&1",
                "chmod 777 /proc/keys 2>&1",
            ]
        ),
    )
    from child import hostile

    layer = hostile(pod, request)
    (layer / "secret").mkdir()
    (layer / "secret/key").write_text("x")
    (layer / "bin").mkdir()
    (layer / "bin/masked").write_text("x")
    request.masked_paths.extend(["/secret", "/bin/masked", "/not/there"])
    request.readonly_paths.extend(["/tmp", "/not/there"])
    lines = output(pod, request).splitlines()
    assert lines[:4] == ["0", "0", "0", "0"], lines
    assert sum("Read-only file system" in line for line in lines) == 3, lines


@pytest.mark.parametrize("propagation", [pb.Mount(propagation=1).propagation, pb.Mount(propagation=2).propagation])
def test_propagation_needs_a_shared_source(pod, propagation):
    source = pod.directory / "volume"
    source.mkdir()
    # A mount of its own: where systemd runs, every other one is shared.
    subprocess.run(["mount", "--bind", "--make-private", source, source], check=True)
    try:
        mount = pb.Mount(destination="/v", type="bind", source=str(source), recursive=True, propagation=propagation)
        failure = refused(pod, usual(pod, "c", "true", mounts=[mount]))
        assert failure.step.startswith("bind propagation") and failure.errno == errno.EINVAL
    finally:
        subprocess.run(["umount", source], check=True)


@pytest.mark.parametrize("propagation", [1, 2])
def test_a_mount_made_later_on_the_node_arrives(pod, propagation):
    libc = ctypes.CDLL(None, use_errno=True)
    source = bytes(pod.directory / "volume")
    os.mkdir(source)
    shared, private = 1 << 20, 1 << 18
    assert libc.mount(source, source, b"none", 4096, None) == 0
    try:
        assert libc.mount(None, source, None, shared, None) == 0
        os.mkdir(source + b"/late")
        pod.client.call(
            "Start",
            usual(
                pod,
                "c",
                "sleep 1000",
                mounts=[
                    pb.Mount(
                        destination="/v", type="bind", source=source.decode(), recursive=True, propagation=propagation
                    )
                ],
            ),
            10,
        )
        assert libc.mount(b"none", source + b"/late", b"tmpfs", 0, None) == 0
        try:
            info = pod.execute("c", "cat /proc/self/mountinfo").stdout.decode()
            options(info, "/v/late")
        finally:
            libc.umount2(source + b"/late", 2)
    finally:
        libc.mount(None, source, None, private, None)
        libc.umount2(source, 2)


def test_mount_points_are_made_in_the_writable_layer(pod):
    request = usual(pod, "c", "ls -d /a/b/c", mounts=[pb.Mount(destination="/a/b/c", type="tmpfs", data=["size=4k"])])
    assert output(pod, request) == "/a/b/c"
    assert stat.S_IMODE((upper(request) / "a/b").stat().st_mode) == 0o755


def test_unknown_types_are_refused(pod):
    for kind in ("ext4", "cgroup", "overlay", "securityfs", "debugfs", ""):
        failure = refused(pod, usual(pod, f"c-{kind}", "true", mounts=[pb.Mount(destination="/v", type=kind)]))
        assert failure.errno == errno.EINVAL, kind


def test_working_directory_is_made(pod):
    request = usual(pod, "c", "pwd; ls -ld . | cut -c1-10")
    request.process.cwd = "/work/deep"
    assert output(pod, request).split() == ["/work/deep", "drwxr-xr-x"]
