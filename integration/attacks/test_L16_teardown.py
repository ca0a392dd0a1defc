"""L16: what a container left behind in its root, volumes and places of mounts is removed and never followed
(CVE-2024-23652)."""

from lib import images, oci, tar, wait
from lib.cri import SLEEPER, security
from lib.memory import MIB, Peak
from lib.programs import program
from lib.stubs import pb


def test_links_in_the_place_of_mounts(daemon, cri, canary, image, tmp_path):
    name = image(oci.Layer.of(tar.directory("data/")), Volumes={"/data": {}, "/volume": {}})
    rw = str(canary.path)
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(
        cgroup_parent=cri.cgroup_parent, security_context=pb.LinuxSandboxSecurityContext(privileged=True)))
    (tmp_path / "kept").write_text("kept\n")
    containers = []
    for number, privileged in enumerate((False, True)):
        container = pod.run(SLEEPER, image=name, name=f"c{number}", linux=security(privileged=privileged), mounts=[
            pb.Mount(container_path="/a/b/c", host_path=str(tmp_path)),
            pb.Mount(container_path="/iv", readonly=True, image=pb.ImageSpec(image="busybox"))])
        container.shell(
            f"mv /a /gone; ln -s {rw} /a; mkdir -p /data/x; ln -s {rw}/rw /data/x/l; ln -s {rw} /volume/rw;"
            f"ln -s {rw}/secret/file /volume/file; mkdir -p /etc/new; ln -s {rw} /etc/new/l")
        if privileged:
            container.shell(
                f"umount /gone/b/c /data /volume /iv; rmdir /gone/b/c /data /volume /iv;"
                f"for p in /gone/b/c /data /volume /iv; do ln -s {rw} $p; done; umount /dev/shm; rmdir /dev/shm;"
                f"ln -s {rw} /dev/shm")
        containers.append(container)
    containers[0].stop()
    containers[0].remove()
    pod.stop()
    pod.remove()
    assert (tmp_path / "kept").read_text() == "kept\n"
    assert not list((daemon.root / "images" / "snapshots").iterdir())
    # the canary fixture compares the tree on the host


def test_links_that_a_daemon_finds_when_it_starts(make_daemon, canary):
    """The container has ended by itself, the daemon is killed, and the next one removes container, pod and image."""
    daemon = make_daemon()
    cri, rw = daemon.client, str(canary.path)
    image = images.busybox().with_layers(oci.Layer.of(tar.directory("data/"), tar.symlink("layer", rw)))
    cri.load(oci.layout_archive({"docker.io/test/links:v1": image.with_config(Volumes={"/data": {}})}))
    pod = cri.run_pod()
    container = pod.run(
        ["sh", "-c", f"ln -s {rw} /link; mkdir -p /a/b; ln -s {rw}/rw /a/b/l; ln -s {rw} /data/l; rm -r /tmp;"
                     f"ln -s {rw} /tmp"], image="test/links:v1")
    assert container.wait().exit_code == 0
    daemon.kill()
    daemon.start()
    container.remove()
    pod.stop()
    pod.remove()
    cri.remove_image("test/links:v1")
    assert not list((daemon.root / "images" / "snapshots").iterdir())
    trash = daemon.root / "images" / "tmp"
    wait.until(lambda: not list(trash.iterdir()), "end of the image's layers")


def test_a_directory_of_very_many_names(daemon, pod):
    """They go as they are read: the container decides how many there are, and how long."""
    filler = pb.Mount(container_path="/filler", host_path=str(program("filler")), readonly=True)
    container = pod.run(["sh", "-c", "mkdir /many && /filler /many 30000"], mounts=[filler])
    assert container.wait(60).exit_code == 0
    peak = Peak(daemon.pid)
    container.remove()
    trash = daemon.root / "images" / "tmp"
    wait.until(lambda: not list(trash.iterdir()), "end of the container's files", 60)
    print("grown by", peak.grown() >> 10, "KiB")
    assert peak.grown() < 8 * MIB
