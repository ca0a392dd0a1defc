"""Images as volumes (KEP-4639): an image's root, or a directory of it, read-only in a container."""

import os

import grpc
import pytest

from lib import images, oci, tar, wait
from lib.cri import SLEEPER
from lib.stubs import pb

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FAILURE = "ImageVolumeMountFailed: mounts[0]."


def volume(name: str, path: str = "/iv", **more):
    spec = pb.ImageSpec(image=name, user_specified_image="as-written:v1")
    return pb.Mount(**{**dict(container_path=path, readonly=True, image=spec), **more})


@pytest.fixture
def data(cri, clean) -> str:
    """One layer, with what a layer may have: files, links out of it, a whiteout without anything below it."""
    layer = oci.Layer.of(
        tar.directory("etc/"), tar.file("etc/app.conf", "of the volume\n"), tar.directory("a/"), tar.directory("a/b/"),
        tar.file("a/b/deep", "deep\n"), tar.symlink("alias", "/a/b"), tar.symlink("out", "../../../../../../etc"),
        tar.file("file", "x"), tar.character("null", 1, 3), tar.whiteout("gone"))
    cri.load(oci.layout_archive({"example.com/data:v1": oci.Image([layer])}))
    return "example.com/data:v1"


def test_an_image_is_shown_read_only_and_its_programs_run(pod, data):
    """critest's case, and one layer beside two: the image of the container itself is a volume, too."""
    more = images.busybox().with_layers(oci.Layer.of(tar.file("top", "second\n"), tar.whiteout("bin/ash")))
    pod.client.load(oci.layout_archive({"example.com/two:v1": more}))
    mounts = [volume("busybox"), volume(data, "/one"), volume("example.com/two:v1", "/two")]
    container = pod.run(SLEEPER, mounts=mounts)
    shown = container.shell("/iv/bin/busybox echo runs; cat /one/etc/app.conf /two/top")
    assert shown == "runs\nof the volume\nsecond\n"
    assert "ash" not in container.shell("ls /two/bin").split() and "gone" not in container.shell("ls -a /one")
    for place in ("/iv", "/one", "/two"):
        answer = container.execute("touch", f"{place}/x")
        assert answer.exit_code == 1 and b"ead-only" in answer.stderr
    assert container.execute("cat", "/one/null").exit_code == 1  # nodev


def test_status_tells_the_request_and_the_image(pod, data):
    mounts = [pb.Mount(container_path="/tmp/x", host_path="/var/tmp"), volume(data), volume("busybox", "/bb")]
    container = pod.create(SLEEPER, mounts=mounts)
    told = container.status().mounts
    expected = [pb.Mount() for _ in mounts]
    for mount, asked in zip(expected, mounts):
        mount.CopyFrom(asked)
    expected[1].image.image_ref = pod.client.image_status(data).id
    expected[2].image.image_ref = images.busybox().id
    assert list(told) == expected
    # a retry of the creation is the same creation
    assert pod.create(config=container.config).id == container.id


@pytest.mark.parametrize("path, word", [
    ("etc", "of the volume"), ("./etc//", "of the volume"), ("a/b", "deep"), ("alias", "deep")])
def test_a_directory_of_an_image(pod, data, path, word):
    text = pod.output("cat /iv/*; cat /proc/self/mountinfo", mounts=[volume(data, image_sub_path=path)])
    assert text.startswith(word)
    assert len([line for line in text.splitlines() if "/iv" in line.split()[4:5]]) == 1, text


@pytest.mark.parametrize("path, code", [
    ("missing", NOT_FOUND), ("file/below", NOT_FOUND), ("file", INVALID), ("../etc", INVALID), ("a/../../etc", INVALID),
    ("/etc", INVALID), ("a\0b", INVALID),
])
def test_a_sub_path_that_is_none(pod, data, path, code):
    refused = pod.create_refused(SLEEPER, mounts=[volume(data, image_sub_path=path)])
    assert refused.code == code and refused.text.startswith(FAILURE + "image_sub_path"), refused


def test_V1_a_sub_path_that_points_out_stays_in_the_image(pod, data, canary):
    """The image's link to ../../etc is its own /etc, be the node's as it may."""
    assert pod.output("cat /iv/app.conf; ls /iv", mounts=[volume(data, image_sub_path="out")]) == (
        "of the volume\napp.conf\n")
    hostile = oci.Image([oci.Layer.of(
        tar.symlink("abs", str(canary.path)), tar.symlink("up", "../" * 30 + str(canary.path)[1:]),
        tar.symlink("proc", "/proc/self/root" + str(canary.path)), tar.symlink("loop", "loop"))])
    pod.client.load(oci.layout_archive({"example.com/out:v1": hostile}))
    for path in ("abs", "up", "proc", "abs/rw", "loop"):
        refused = pod.create_refused(SLEEPER, mounts=[volume("example.com/out:v1", image_sub_path=path)])
        assert refused.text.startswith(FAILURE + "image_sub_path"), refused


@pytest.mark.parametrize("change, field, code", [
    (dict(readonly=False), "readonly", INVALID), (dict(host_path="/tmp"), "host_path", INVALID),
    (dict(image=pb.ImageSpec(image="example.com/none:v1")), "image", NOT_FOUND),
    (dict(image=pb.ImageSpec(image="No Reference")), "image", INVALID),
    (dict(image=pb.ImageSpec()), "image", INVALID),
    (dict(propagation=pb.PROPAGATION_BIDIRECTIONAL), "propagation", INVALID),
])
def test_what_is_refused_says_so(pod, data, change, field, code):
    refused = pod.create_refused(SLEEPER, mounts=[volume(data, **change)])
    assert refused.code == code and refused.text.startswith(FAILURE + field), refused


def test_options_of_an_image(pod, data):
    container = pod.run(SLEEPER, mounts=[
        volume("busybox", mount_options=["noexec", "nosuid"], recursive_read_only=True)])
    assert container.execute("sh", "-c", "/iv/bin/busybox true").exit_code == 126
    (line,) = [line for line in container.shell("cat /proc/self/mountinfo").splitlines() if " /iv " in line]
    assert set(line.split()[5].split(",")) >= {"ro", "nosuid", "nodev", "noexec"}
    refused = pod.create_refused(SLEEPER, name="bad", mounts=[volume(data, mount_options=["rw"])])
    assert refused.code == INVALID and "mounts[0].mount_options" in refused.text


def test_the_layers_stay_while_a_container_has_them(daemon, pod, data):
    """RemoveImage, a killed daemon, and a start after both; nothing is left once the container is gone."""
    created = pod.create(SLEEPER, name="later", mounts=[volume(data, image_sub_path="a")])
    container = pod.run(SLEEPER, mounts=[volume(data)])
    layers = len(os.listdir(daemon.root / "images" / "layers"))
    pod.client.remove_image(data)
    assert pod.client.image_status(data) is None
    daemon.kill()
    daemon.start()
    assert container.shell("cat /iv/a/b/deep") == "deep\n"
    assert created.start().shell("cat /iv/b/deep") == "deep\n"
    assert created.status().mounts[0].image.image_ref.startswith("sha256:")
    assert len(os.listdir(daemon.root / "images" / "layers")) == layers
    assert pod.create_refused(SLEEPER, name="new", mounts=[volume(data)]).code == NOT_FOUND
    for one in (container, created):
        one.stop()
        one.remove()
    wait.until(lambda: len(os.listdir(daemon.root / "images" / "layers")) == layers - 1, "end of the volume's layer")


def test_in_a_user_namespace_its_files_are_the_containers(cri, data):
    """Shown with the ids of the pod's namespace, the whole image and a part of it; the layers stay as they are."""
    ids = [pb.IDMapping(host_id=11 * 65536, container_id=0, length=65536)]
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(
                pid=pb.CONTAINER, userns_options=pb.UserNamespace(mode=pb.POD, uids=ids, gids=ids)))))
    container = pod.run(SLEEPER, mounts=[
        volume(data, uidMappings=ids, gidMappings=ids), volume(data, "/part", image_sub_path="etc"),
        volume("busybox", "/bb")])
    shown = container.shell(
        "stat -c %u:%g /iv /iv/etc/app.conf /part/app.conf /bb/bin/busybox; /bb/bin/busybox echo ok")
    assert shown == "0:0\n" * 4 + "ok\n"
    assert container.execute("touch", "/iv/x").exit_code == 1


def test_whoever_may_remount_still_cannot_write(cri, data):
    """A privileged container makes its mount writable: the layers, which others share, are not."""
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent,
        security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    container = pod.run(SLEEPER, mounts=[volume(data)], linux=pb.LinuxContainerConfig(
        security_context=pb.LinuxContainerSecurityContext(privileged=True)))
    container.execute("mount", "-o", "remount,bind,rw", "/iv")
    container.execute("mount", "-o", "remount,rw", "/iv")
    assert container.execute("sh", "-c", "echo x > /iv/etc/app.conf").exit_code != 0
    assert container.shell("cat /iv/etc/app.conf") == "of the volume\n"
