"""L25: a mount's flags are the ones asked for, on every kind of mount, and are set before it is attached."""

import itertools
import re

import pytest

from lib import tracing
from lib.cri import SLEEPER
from lib.stubs import pb

FLAGS = {"ro", "nosuid", "nodev", "noexec"}


def by_place(text: str) -> dict[str, set[str]]:
    return {line.split()[4]: set(line.split()[5].split(",")) & FLAGS for line in text.splitlines()}


def source_fields(kind: str, tmp_path) -> dict:
    if kind.startswith("image"):
        return dict(image=pb.ImageSpec(image="busybox"), image_sub_path="bin" if kind == "image sub path" else "")
    return dict(host_path=str(tmp_path / "file" if kind == "file" else tmp_path))


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


@pytest.mark.parametrize("kind", ["directory", "image", "image sub path"])
def test_table_of_flags_in_a_user_namespace(cri, tmp_path, kind):
    ids = [pb.IDMapping(host_id=13 * 65536, container_id=0, length=65536)]
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(
                pid=pb.CONTAINER, userns_options=pb.UserNamespace(mode=pb.POD, uids=ids, gids=ids)))))
    test_table_of_flags(pod, tmp_path, kind)


def test_flags_come_before_the_mount(daemon, pod, tmp_path):
    """In the order of the system calls no mount is made read-only after it is there, but for the root, which has its
    places made first; and each that is to be read-only was so before."""
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
    for _, call, arguments, result in tracing.calls(log):
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
