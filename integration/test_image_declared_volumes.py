"""`VOLUME`s of an image: a directory of its own for each container, with the image's content, gone with it."""

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb


def layer() -> oci.Layer:
    return oci.Layer.of(
        tar.directory("data/", mode=0o1777, uid=33, gid=33), tar.file("data/seed", "from the image\n", uid=33),
        tar.directory("data/sub/"), tar.symlink("data/sub/link", "../seed"), tar.symlink("var/run", "/run"))


def volumes(*paths: str) -> dict:
    return {"Volumes": {path: {} for path in paths}}


def kept(daemon) -> list[str]:
    return sorted(str(path.name) for path in (daemon.root / "images" / "snapshots").glob("*/volumes/*"))


def test_a_directory_of_its_own_with_the_images_content(daemon, pod, image):
    name = image(layer(), **volumes("/data", "/empty/deep", "/var/run/app"))
    first = pod.run(SLEEPER, image=name, name="first")
    assert first.shell("cat /data/seed; cat /data/sub/link; stat -c '%a %u:%g' /data /empty/deep") == (
        "from the image\nfrom the image\n1777 33:33\n755 0:0\n")
    first.shell("echo mine > /data/seed; echo x > /empty/deep/x; echo y > /run/app/y")
    second = pod.run(SLEEPER, image=name, name="second")
    assert second.shell("cat /data/seed; ls /empty/deep /run/app") == (
        "from the image\n/empty/deep:\n\n/run/app:\n")
    # mounts of their own, that are nobody's request
    points = {line.split()[4] for line in second.shell("cat /proc/self/mountinfo").splitlines()}
    assert {"/data", "/empty/deep", "/run/app"} <= points
    assert not second.status().mounts
    assert len(kept(daemon)) == 6
    daemon.kill()
    daemon.start()
    assert first.shell("cat /data/seed") == "mine\n"
    for container in (first, second):
        container.stop()
        container.remove()
    assert kept(daemon) == []


def test_the_configuration_can_ignore_them(make_daemon, archives, tmp_path):
    daemon = make_daemon(start=False)
    with open(daemon.config, "a") as config:
        config.write("[containers]\nignore_image_volumes = true\n")
    daemon.start()
    daemon.client.load(oci.layout_archive({"example.com/volumes:v1": images.busybox().with_layers(layer()).with_config(
        **volumes("/data"))}))
    pod = daemon.client.run_pod()
    container = pod.run(SLEEPER, image="example.com/volumes:v1")
    assert container.shell("cat /data/seed; grep -c ' /data ' /proc/self/mountinfo || true") == "from the image\n0\n"
    assert kept(daemon) == []
    pod.remove()


def test_a_mount_of_the_request_wins(daemon, pod, image, tmp_path):
    (tmp_path / "here").write_text("request\n")
    name = image(layer(), **volumes("/data/", "/outer/inner"))
    (tmp_path / "outer").mkdir()
    container = pod.run(SLEEPER, image=name, mounts=[
        pb.Mount(container_path="/data", host_path=str(tmp_path)),
        pb.Mount(container_path="/outer", host_path=str(tmp_path / "outer"))])
    assert container.shell("ls /data; ls /outer") == "here\nouter\ninner\n"
    assert kept(daemon) == ["0"]
    assert len(container.status().mounts) == 2


def test_in_a_user_namespace_they_are_the_containers(daemon, cri, image):
    ids = [pb.IDMapping(host_id=12 * 65536, container_id=0, length=65536)]
    name = image(layer(), **volumes("/data", "/empty"))
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(
            namespace_options=pb.NamespaceOption(
                pid=pb.CONTAINER, userns_options=pb.UserNamespace(mode=pb.POD, uids=ids, gids=ids)))))
    container = pod.run(SLEEPER, image=name)
    shown = container.shell("touch /data/x /empty/x; stat -c %u:%g /data /data/seed /empty /data/x /empty/x")
    assert shown.split() == ["33:33", "33:0", "0:0", "0:0", "0:0"]
    (written,) = (daemon.root / "images" / "snapshots").glob("*/volumes/1/x")
    assert written.stat().st_uid == 0  # not the pod's ids: those are the mount's


def test_they_are_writable_below_a_read_only_root(pod, image):
    name = image(layer(), **volumes("/data"))
    container = pod.run(SLEEPER, image=name, linux=pb.LinuxContainerConfig(
        security_context=pb.LinuxContainerSecurityContext(readonly_rootfs=True)))
    container.shell("echo x > /data/x")
    assert container.execute("touch", "/x").exit_code == 1


def test_a_volume_on_a_file_is_refused(daemon, pod, image):
    name = image(layer(), **volumes("/etc/passwd"))
    refused = pod.create_refused(SLEEPER, image=name)
    assert "VOLUME" in refused.text and "/etc/passwd" in refused.text, refused
    assert kept(daemon) == []


@pytest.mark.parametrize("many", [257])
def test_an_image_with_too_many(pod, image, many):
    name = image(layer(), **volumes(*[f"/v{number}" for number in range(many)]))
    refused = pod.create_refused(SLEEPER, image=name)
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "257" in refused.text
