"""L25: a mount's flags are the ones asked for, on every kind of mount, and are set before it is attached."""

import itertools
import re
import subprocess

import pytest

from lib import tracing
from lib.cri import SLEEPER, security
from lib.stubs import pb
from test_userns import mapping, run_pod

FLAGS = {"ro", "nosuid", "nodev", "noexec"}


def by_place(text: str) -> dict[str, set[str]]:
    return {line.split()[4]: set(line.split()[5].split(",")) & FLAGS for line in text.splitlines()}


def source_fields(kind: str, tmp_path) -> dict:
    if kind.startswith("image"):
        return dict(image=pb.ImageSpec(image="busybox"), image_sub_path="bin" if kind == "image sub path" else "")
    ids = dict(uidMappings=[mapping()], gidMappings=[mapping()]) if "mapped ids" in kind else {}
    return dict(host_path=str(tmp_path / "file" if kind == "file" else tmp_path), **ids)


@pytest.mark.parametrize("kind", ["directory", "file", "image", "image sub path"])
def test_table_of_flags(pod, tmp_path, kind):
    (tmp_path / "file").write_text("x")
    expected, mounts = {}, []
    always = {"ro", "nodev"} if kind.startswith("image") else set()
    for number, (readonly, recursive, *options) in enumerate(itertools.product((0, 1), repeat=5)):
        if recursive and not readonly or kind.startswith("image") and not readonly:
            continue
        asked = [name for name, wanted in zip(("nosuid", "nodev", "noexec"), options) if wanted]
        expected[f"/m/{number}"] = set(asked) | ({"ro"} if readonly else set()) | always
        mounts.append(pb.Mount(
            container_path=f"/m/{number}", readonly=bool(readonly), recursive_read_only=bool(recursive),
            mount_options=asked, **source_fields(kind, tmp_path)))
    have = by_place(pod.output("cat /proc/self/mountinfo", mounts=mounts))
    assert {place: have[place] for place in expected} == expected


@pytest.mark.parametrize("kind", ["directory", "file", "directory with mapped ids", "image", "image sub path"])
def test_table_of_flags_in_a_user_namespace(cri, tmp_path, kind):
    test_table_of_flags(run_pod(cri), tmp_path, kind)


@pytest.fixture
def restricted(tmp_path):
    """A file system of the node's, mounted nosuid, nodev and noexec."""
    path = tmp_path / "restricted"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "restricted", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("kind", ["ordinary", "user namespace"])
def test_what_the_node_withholds_stays_withheld(cri, restricted, kind):
    """Its mount's flags are the container's, asked for or not, and cannot be taken away inside."""
    pod = cri.run_pod() if kind == "ordinary" else run_pod(cri)
    capabilities = pb.Capability(add_capabilities=[] if kind == "ordinary" else ["ALL"])
    container = pod.run(SLEEPER, linux=security(capabilities=capabilities), mounts=[
        pb.Mount(container_path="/m", host_path=str(restricted)),
        pb.Mount(container_path="/ro", host_path=str(restricted), readonly=True)])
    withheld = {"nosuid", "nodev", "noexec"}
    for options in ("remount,bind,suid,dev,exec,rw", "remount,suid,dev,exec,rw"):
        for place in ("/m", "/ro"):
            assert container.execute("mount", "-o", options, "none", place).exit_code != 0
    have = by_place(container.shell("cat /proc/self/mountinfo"))
    assert (have["/m"], have["/ro"]) == (withheld, withheld | {"ro"})


@pytest.mark.parametrize("users", ["ordinary", "user namespace"])
def test_flags_come_before_the_mount(cri, daemon, tmp_path, users):
    """In the order of the system calls no mount is made read-only after it is there, but for the root, which has its
    places made first; and each that is to be read-only was so before."""
    pod = cri.run_pod() if users == "ordinary" else run_pod(cri)
    (tmp_path / "file").write_text("x")
    mounts = [pb.Mount(container_path=f"/ro/{number}", readonly=True, recursive_read_only=number == 1,
                       mount_options=["noexec"], **source_fields(kind, tmp_path))
              for number, kind in enumerate(("directory", "directory", "file", "image", "image sub path"))]
    (shim,) = daemon.shims()
    log = tmp_path / "trace"
    with tracing.traced(shim, log, "move_mount", "mount_setattr", "open_tree", "fsmount", "close", "pivot_root"):
        pod.run(SLEEPER, mounts=mounts)
    attached: set[int] = set()
    readonly: set[int] = set()
    late, was_readonly, pivoted = [], 0, False
    furnisher = next(pid for pid, call, _, _ in tracing.calls(log) if call == "pivot_root")
    for pid, call, arguments, result in tracing.calls(log):
        if pid != furnisher:
            continue
        number = re.match(r"\d+", arguments)
        if result < 0 or not number and call not in ("open_tree", "pivot_root"):
            continue
        descriptor = int(number[0]) if number else -1
        if call in ("open_tree", "fsmount", "close"):
            for known in (attached, readonly):
                known.discard(descriptor if call == "close" else result)
            # a copy has the flags of what it is copied from
            if call == "fsmount" and "MOUNT_ATTR_RDONLY" in arguments or call == "open_tree" and descriptor in readonly:
                readonly.add(result)
        elif call == "mount_setattr" and "MOUNT_ATTR_RDONLY" in arguments:
            readonly.add(descriptor)
            if descriptor in attached and not pivoted:
                late.append(arguments)
        elif call == "move_mount":
            attached.add(descriptor)
            was_readonly += descriptor in readonly
        pivoted = pivoted or call == "pivot_root"
    assert not late and pivoted
    assert was_readonly >= len(mounts), log.read_text()
