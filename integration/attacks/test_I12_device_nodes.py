"""I12: device nodes that an image brings open nothing of the node's. In a pod with a user namespace the image's files
are the container's root's, and for a privileged container there the device cgroup refuses nothing: the mounts have to.

Seen to fail without nodev at the root (rootfs.nodev; ContainerSpec) and at mounts with mapped ids (UserMounts)."""

import os
import stat

import pytest

from lib import oci, tar
from lib.cri import SLEEPER, security
from lib.stubs import pb
from test_userns import run_pod


@pytest.fixture
def number(tmp_path) -> tuple[int, int]:
    """A character device of the node's that its root can open, and that no container has by default."""
    for major, minor in [(10, 200), (10, 229), (1, 11), (10, 232)]:  # tun, fuse, kmsg, kvm
        path = tmp_path / f"{major}:{minor}"
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return major, minor
        except OSError:
            path.unlink()
    raise AssertionError("this node has none of the devices")


def opened(container, path: str) -> bool:
    answer = container.execute("sh", "-c", f"exec < {path}")
    assert answer.exit_code == 0 or b"denied" in answer.stderr or b"permitted" in answer.stderr, answer
    return answer.exit_code == 0


@pytest.mark.parametrize("users, privileged", [(True, True), (True, False), (False, False)])
def test_nodes_of_an_image_are_of_no_use(cri, image, number, users, privileged):
    name = image(oci.Layer.of(
        tar.character("node", *number), tar.directory("vol/"), tar.character("vol/node", *number),
        tar.character("vol/null", 1, 3)), Volumes={"/vol": {}})
    pod = run_pod(cri, context=dict(privileged=privileged)) if users else cri.run_pod()
    volume = pb.Mount(container_path="/image", image=pb.ImageSpec(image=name), readonly=True)
    container = pod.run(SLEEPER, image=name, mounts=[volume], linux=security(privileged=privileged))
    found = {path: container.shell(f"stat -c %t:%T {path}").strip() for path in ("/node", "/vol/node", "/image/node")}
    assert set(found.values()) == {f"{number[0]:x}:{number[1]:x}"}
    assert [path for path in found if opened(container, path)] == []
    # What every container may open is there for it in the image's places, too, where the device cgroup stands guard.
    assert opened(container, "/vol/null") is not privileged


def test_a_directory_that_is_mounted_with_the_pods_ids(cri, number, tmp_path):
    """A node in it that the node's root owns would be the container's root's."""
    pod = run_pod(cri, context=dict(privileged=True))
    config = pod.config.linux.security_context.namespace_options.userns_options
    mount = pb.Mount(container_path="/data", host_path=str(tmp_path), uidMappings=config.uids, gidMappings=config.gids)
    container = pod.run(SLEEPER, mounts=[mount], linux=security(privileged=True))
    (node,) = tmp_path.iterdir()
    assert not opened(container, f"/data/{node.name}")
    refused = pod.create_refused(SLEEPER, name="other", linux=security(privileged=True), devices=[
        pb.Device(host_path=str(node), container_path="/opt/node", permissions="r")])
    assert "/opt/node" in refused.text and "below /dev" in refused.text
