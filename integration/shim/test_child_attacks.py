"""Images and requests that try to make us act outside a container's root; the rows of ATTACKS by number."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import pathlib
import threading

import pytest

from child import DESCRIPTORS, canary, hostile, output, refused, same_node_mounts, usual  # noqa: F401
from pod import POD, programs
from ttrpc import ShimError, pb


def digests() -> dict[str, str]:
    return {
        name: hashlib.sha256((programs() / name).read_bytes()).hexdigest()
        for name in ("swiftlet-shim", "swiftlet-pause")
    }


def test_L01_binaries_survive_an_image_that_runs_them(shim):
    """`#!/proc/self/exe` makes the kernel run the shim's file inside; a neighbour in the same PID namespace tries
    to write to every program that it can see, again and again."""
    before = digests()
    shim.start(pid=POD)
    spy = (
        "echo ready; while :; do for p in /proc/[0-9]*; do case $p in /proc/$$) ;; *)"
        " (echo bad > $p/exe) 2>/dev/null && echo $p; esac; done; done"
    )
    request = usual(shim, "spy", spy)
    request.process.capabilities.bounding |= 1 << 19  # with CAP_SYS_PTRACE it may open them
    for mask in ("effective", "permitted"):
        setattr(request.process.capabilities, mask, request.process.capabilities.bounding)
    shim.client.call("Start", request)
    shim.wait_log("spy", "ready")
    for number in range(10):
        request = usual(shim, f"c{number}", "")
        layer = hostile(shim, request)
        (layer / "entry").write_text("#!/proc/self/exe\n")
        (layer / "entry").chmod(0o755)
        request.process.argv[:] = [b"/entry"]
        shim.client.call("Start", request)
        assert shim.wait_exit(f"c{number}").exit_code == 2
        shim.execute("spy", "true")
    assert digests() == before


def test_L03_a_component_swapped_while_it_is_resolved(pod, canary):
    """A neighbour exchanges a directory and a link in a shared volume while mount points are made below it."""
    volume = pod.directory / "shared"
    (volume / "x").mkdir(parents=True)
    os.symlink(canary / "rw", volume / "y")
    stop = threading.Event()
    libc = ctypes.CDLL(None)
    names = bytes(volume / "x"), bytes(volume / "y")

    def swap() -> None:
        while not stop.is_set():
            libc.renameat2(-100, names[0], -100, names[1], 2)  # RENAME_EXCHANGE

    thread = threading.Thread(target=swap)
    thread.start()
    started = 0
    try:
        for number in range(60):
            request = usual(
                pod,
                f"c{number}",
                "sleep 1000",
                mounts=[
                    pb.Mount(destination="/v", type="bind", source=str(volume)),
                    pb.Mount(destination=f"/v/x/{number}/deep", type="tmpfs", data=["size=4k"]),
                ],
            )
            request.process.argv[:] = [b"true"]
            try:
                pod.client.call("Start", request)
                started += 1
            except ShimError as error:
                assert error.failure.step == "mount tmpfs", error
    finally:
        stop.set()
        thread.join()
    assert started > 0
    assert os.listdir(canary / "rw") == []


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        *[f"/proc/self/fd/{number}" for number in range(3, 41, 4)],
        "/proc/1/fd/3",
        "/proc/thread-self/fd/7",
        "/proc/self/cwd",
        "/proc/1/root",
        "/link",
        "/chain",
    ],
)
def test_L02_working_directory_through_magic_links(pod, start, path):
    request = usual(pod, "c", "sleep 1000")
    layer = hostile(pod, request)
    os.symlink("/proc/self/fd/8", layer / "link")
    os.symlink("/link", layer / "chain")
    if start:
        request.process.cwd = path
        failure = refused(pod, request)
    else:
        pod.client.call("Start", request)
        run = pod.exec_request("c", "pwd")
        run.process.cwd = path
        with pytest.raises(ShimError) as caught:
            pod.client.call("ExecSync", run)
        failure = caught.value.failure
    assert failure.step == "working directory"
    # A descriptor that is not there is no way out either: procfs lets nobody make one.
    assert failure.errno in (errno.ELOOP, errno.ENOENT, errno.EPERM, errno.EACCES), errno.errorcode[failure.errno]


@pytest.mark.parametrize("path", ["", "relative", "./x", "../x"])
def test_L02_relative_working_directories(pod, path):
    request = usual(pod, "c", "true")
    request.process.cwd = path
    failure = refused(pod, request)
    assert (failure.step, failure.errno) == ("working directory", errno.EINVAL)


def test_L02_inherited_descriptors_are_never_visible(shim):
    # The harness hands the shim descriptors 3 and 4 and leaves 200 and 201 open besides.
    shim.start()
    assert output(shim, usual(shim, "c", DESCRIPTORS)).split() == ["0", "1", "2"]
    shim.client.call("Start", usual(shim, "d", "sleep 1000"))
    assert shim.execute("d", DESCRIPTORS).stdout.split() == [b"0", b"1", b"2"]


def spoil(place: pathlib.Path, how: str) -> None:
    if how == "file":
        place.write_text("x")
    elif how == "fifo":
        os.mkfifo(place)
    else:
        os.symlink(how, place)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("how", ["/tmp", "..", "../../../..", "/nowhere", "file", "fifo"])
def test_L04_L09_the_kernels_mount_points_must_be_directories(pod, name, how):
    request = usual(pod, "c", "true")
    spoil(hostile(pod, request) / name, how)
    failure = refused(pod, request)
    kind = {"proc": "proc", "sys": "sysfs", "dev": "tmpfs"}[name]
    assert (failure.step, failure.subject) == (f"mount {kind}", f"/{name}")
    assert failure.errno in (errno.ELOOP, errno.ENOTDIR)


@pytest.mark.parametrize(
    "place", ["/proc", "/proc/sys", "/proc/self", "/proc/1", "/proc/self/attr", "/proc/x", "/p/sys", "//proc//sys"]
)
def test_L04_nothing_is_mounted_inside_procfs(pod, place):
    source = pod.directory / "volume"
    source.mkdir()
    request = usual(pod, "c", "true", mounts=[pb.Mount(destination=place, type="bind", source=str(source))])
    os.symlink("/proc", hostile(pod, request) / "p")
    failure = refused(pod, request)
    assert failure.step.startswith("mount bind")
    failure = refused(pod, usual(pod, "d", "true", mounts=[pb.Mount(destination="/proc/sys", type="tmpfs")]))
    assert failure.step.startswith("mount tmpfs")


@pytest.mark.parametrize("how", ["link", "file", "fifo", "device"])
def test_L06_masks_do_not_use_the_images_null_device(pod, how):
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    request = usual(
        pod, "c", "cat /proc/keys; echo got $?; (echo pwned > /proc/keys) 2>&1; cat /proc/sys/kernel/core_pattern"
    )
    request.mounts.pop(1)  # without a /dev of ours the image's is there
    for mount in [mount for mount in request.mounts if mount.destination.startswith("/dev")]:
        request.mounts.remove(mount)
    del request.devices[:]
    null = hostile(pod, request) / "dev/null"
    null.parent.mkdir()
    if how == "link":
        os.symlink("/proc/sys/kernel/core_pattern", null)
    elif how == "file":
        null.write_text("x")
    elif how == "fifo":
        os.mkfifo(null)
    else:
        os.mknod(null, 0o20666, os.makedev(1, 5))
    said = output(pod, request)
    assert said.splitlines()[0] == "got 0", said
    assert "pwned" not in said
    assert pathlib.Path("/proc/sys/kernel/core_pattern").read_text() == pattern


@pytest.mark.parametrize(
    "name,place", [("dev/pts", "/dev/pts"), ("dev/shm", "/dev/shm"), ("dev/mqueue", "/dev/mqueue")]
)
def test_L09_links_below_dev_are_covered(pod, canary, name, place):
    request = usual(pod, "c", f"stat -c %F {place}")
    layer = hostile(pod, request)
    (layer / "dev").mkdir()
    os.symlink(canary / "rw", layer / name)
    assert output(pod, request) == "directory"


@pytest.mark.parametrize("target", ["{canary}/rw", "../../../../../../..{canary}/rw"])
def test_L09_devices_do_not_leave_the_root(pod, canary, target):
    request = usual(pod, "c", "true", devices=[pb.Device(path="/link/node", type="c", major=1, minor=3, mode=0o666)])
    os.symlink(target.format(canary=canary), hostile(pod, request) / "link")
    output(pod, request)
    assert not (canary / "rw/node").exists()


def test_L10_L11_standard_descriptors_and_console_links(pod, canary):
    request = usual(pod, "c", "echo fine; ls /dev/console 2>/dev/null")
    layer = hostile(pod, request)
    (layer / "dev").mkdir()
    os.symlink(canary / "rw/new", layer / "dev/console")
    os.symlink(canary / "secret", layer / "dev/null")
    assert output(pod, request) == "fine"


@pytest.mark.parametrize("link", ["{canary}/rw", "{canary}/nothing", "../../../../..{canary}/rw", "/dangling/x"])
@pytest.mark.parametrize("kind", ["directory", "file"])
def test_L13_mount_points_through_links_are_made_inside(pod, canary, link, kind):
    source = pod.directory / "volume"
    if kind == "directory":
        source.mkdir()
    else:
        source.write_text("x")
    request = usual(
        pod,
        "c",
        "cat /proc/self/mountinfo | grep -c volume",
        mounts=[pb.Mount(destination="/v/a/b/c", type="bind", source=str(source))],
    )
    layer = hostile(pod, request)
    (layer / "v").mkdir()
    os.symlink(link.format(canary=canary), layer / "v/a")
    assert output(pod, request) == "1"


def test_L13_a_link_loop_is_refused(pod):
    request = usual(pod, "c", "true", mounts=[pb.Mount(destination="/a/b", type="tmpfs")])
    layer = hostile(pod, request)
    os.symlink("/b", layer / "a")
    os.symlink("/a", layer / "b")
    assert refused(pod, request).errno == errno.ELOOP


@pytest.mark.parametrize("name", ["hosts", "resolv.conf", "hostname"])
@pytest.mark.parametrize("whole", [True, False])
def test_L14_L15_files_of_ours_land_inside(pod, canary, name, whole):
    ours = pod.directory / name
    ours.write_text("ours")
    request = usual(
        pod, "c", f"cat /etc/{name}", mounts=[pb.Mount(destination=f"/etc/{name}", type="bind", source=str(ours))]
    )
    layer = hostile(pod, request)
    if whole:
        os.symlink(canary / "rw", layer / "etc")
    else:
        (layer / "etc").mkdir()
        os.symlink(canary / "rw/planted", layer / f"etc/{name}")
    assert output(pod, request) == "ours"


def test_L17_cgroup_tree_is_readonly_and_starts_at_the_container(pod):
    request = usual(
        pod,
        "c",
        "cat /proc/self/cgroup | grep '^0::'; mkdir /sys/fs/cgroup/x 2>&1; echo 0 > /sys/fs/cgroup/cgroup.procs",
    )
    if not request.cgroup.unified:
        assert refused_without_namespace(pod, request)
        return
    request.mounts.append(pb.Mount(destination="/sys/fs/cgroup", type="cgroup2", readonly=True))
    lines = output(pod, request).splitlines()
    assert lines[0] == "0::/" and "Read-only" in lines[1]


def refused_without_namespace(pod, request) -> bool:
    """Without a v2 group of its own a container gets no cgroup tree: it would be the node's."""
    request.mounts.append(pb.Mount(destination="/sys/fs/cgroup", type="cgroup2", readonly=True))
    return refused(pod, request).step == "mount cgroup2"


def test_L21_long_requests_arrive_whole_or_not_at_all(pod):
    request = usual(pod, "c", "echo ${#V} $#")
    request.process.env.append(b"V=" + b"x" * 70_000)
    request.process.argv.extend([b"sh"] + [b"y"] * 1000)
    request.process.user.groups[:] = range(4096)
    assert output(pod, request) == "70000 1000"
    request = usual(pod, "d", "true", mounts=[pb.Mount(destination="/" + "x" * 5000, type="tmpfs")])
    assert refused(pod, request).errno == errno.ENAMETOOLONG
    request = usual(
        pod,
        "e",
        "wc -l < /proc/self/mountinfo",
        mounts=[pb.Mount(destination=f"/m/{number}", type="tmpfs", data=["size=4k"]) for number in range(1500)],
    )
    assert int(output(pod, request)) > 1500


def test_L23_nothing_of_a_starting_process_can_be_opened(shim):
    """A root process of the same PID namespace looks into every new process while others are started in it."""
    shim.start(pid=0)
    spy = """
    while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$|/proc/self) continue;; esac
      cat $p/environ >/dev/null 2>&1
      for n in root cwd exe fd/3 fd/6 fd/9; do
        t=$(readlink $p/$n 2>/dev/null) && case $n$t in
          exe*swiftlet-shim*|root/?*|fd*socket:*|fd*anon_inode:*|fd*/sys/fs/cgroup*|fd*pid:*|fd/*[0-9]/proc|fd/*[0-9]/)
            echo "leak $p $n $t";; esac; done
    done; done"""
    shim.client.call("Start", usual(shim, "spy", spy))
    for number in range(30):
        shim.execute("spy", "true")
    for number in range(8):
        shim.run(f"c{number}", "true")
    assert [record for record in shim.log("spy") if record[2].startswith("leak")] == []
