"""L14: nothing of the runtime's is written into the root: hosts, hostname, resolv.conf are mounts (CVE-2025-24965)."""

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb
from lib.trees import below


def plants(canary) -> dict[str, tuple[list[str], list[tar.Entry]]]:
    """What is taken from busybox, and what is put there."""
    rw = str(canary.path / "rw")
    return {
        "etc": (["etc"], [tar.symlink("etc", rw)]),
        "hosts": (["etc/hosts"], [tar.symlink("etc/hosts", rw + "/file")]),
        "hostname": (["etc/hostname"], [tar.symlink("etc/hostname", "../../../../.." + rw + "/file")]),
        "resolv.conf": ([], [tar.symlink("etc/resolv.conf", rw + "/new")]),
        "run": (["run"], [tar.symlink("run", rw)]),
        "containerenv": ([], [tar.symlink("run/.containerenv", rw + "/env")]),
        "termination log": ([], [tar.symlink("dev/termination-log", rw + "/log")]),
    }


@pytest.mark.parametrize("number", range(7))
def test_the_canary_is_untouched(cri, canary, clean, tmp_path, number):
    name, (gone, entries) = list(plants(canary).items())[number]
    image = images.busybox().with_layers(oci.Layer.of(*(tar.whiteout(path) for path in gone)), oci.Layer.of(*entries))
    cri.load(oci.layout_archive({"example.com/files:v1": image}))
    pod = cri.run_pod(dns_config=pb.DNSConfig(servers=["10.1.2.3"]))
    (tmp_path / "log").touch()
    config = pod.container_config(SLEEPER, image="example.com/files:v1", mounts=[
        pb.Mount(container_path="/dev/termination-log", host_path=str(tmp_path / "log"))])
    try:
        container = pod.create(config=config).start()
    except grpc.RpcError as error:
        assert error.details(), name
        return
    # where the container resolves the path, the pod's content is found, and it is a mount
    assert "10.1.2.3" in container.shell("cat /etc/resolv.conf")
    assert container.shell("hostname").strip() == pod.config.hostname
    container.shell("echo bye > /dev/termination-log")
    assert (tmp_path / "log").read_text() == "bye\n"


def test_no_file_of_ours_in_the_writable_layer(cri, daemon):
    """After a start the container's own layer has no regular file with content, only mount points."""
    pod = cri.run_pod(dns_config=pb.DNSConfig(servers=["10.1.2.3"]))
    pod.run(SLEEPER)
    upper = [path for path in below(daemon.root, "resolv.conf") if path.is_file() and "10.1.2.3" in path.read_text()]
    assert not [path for path in upper if "etc" in path.parts[:-1]], upper
