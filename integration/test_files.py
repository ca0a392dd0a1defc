"""The pod's own files (hosts, hostname, resolv.conf) and volumes."""

import os

import grpc
import pytest

from lib.cri import SLEEPER
from lib.stubs import pb


def test_hostname(cri):
    pod = cri.run_pod(hostname="my-host")
    assert pod.output("hostname; cat /etc/hostname; echo $HOSTNAME") == "my-host\n" * 3


def test_a_hostname_of_65_bytes_is_refused(cri):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(hostname="x" * 65))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "hostname" in refused.text


def test_resolver_configuration(cri):
    pod = cri.run_pod(dns_config=pb.DNSConfig(
        servers=["10.1.2.3", "fd00::53"], searches=["a.example", "b.example"], options=["ndots:5", "timeout:1"]))
    assert pod.output("cat /etc/resolv.conf").splitlines() == [
        "search a.example b.example", "nameserver 10.1.2.3", "nameserver fd00::53", "options ndots:5 timeout:1"]


def test_an_empty_resolver_configuration_is_an_empty_file(cri):
    assert cri.run_pod(dns_config=pb.DNSConfig()).output("cat /etc/resolv.conf") == ""


def test_no_resolver_configuration_is_the_nodes(cri):
    text = cri.run_pod().output("cat /etc/resolv.conf")
    with open("/etc/resolv.conf") as file:
        own = file.read()
    assert text == own or "127." in own


@pytest.mark.parametrize("field, value", [
    ("servers", "1.2.3.4\noptions evil"), ("servers", "dns.example"), ("servers", ""), ("servers", "1.2.3.4 6.6.6.6"),
    ("searches", "a\nnameserver 6.6.6.6"), ("searches", "a..b"), ("searches", "x" * 64), ("searches", "a b"),
    ("options", "x\ny"), ("options", ""), ("options", "ndots:5 debug")])
def test_a_resolver_entry_is_one_word_of_its_kind(cri, field, value):
    """ATTACKS N09."""
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(dns_config=pb.DNSConfig(**{field: [value]})))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and f"dns_config.{field}" in refused.text


@pytest.mark.parametrize("name", ["a\nb", "a b", "a\tb", "a/b", "h\u00f6st", "\0"])
def test_a_hostname_cannot_bring_a_line_of_its_own(cri, name):
    """ATTACKS N09: it goes into hosts and hostname."""
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(hostname=name))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "config.hostname" in refused.text


def test_hosts_has_localhost(cri):
    text = cri.run_pod().output("cat /etc/hosts")
    assert "localhost" in text and "image-own" not in text


def test_a_bind_mount_both_ways(pod, tmp_path):
    (tmp_path / "from-host").write_text("host\n")
    mount = pb.Mount(container_path="/data/deep", host_path=str(tmp_path))
    container = pod.run(SLEEPER, mounts=[mount])
    assert container.shell("cat /data/deep/from-host") == "host\n"
    container.shell("echo inside > /data/deep/from-container")
    assert (tmp_path / "from-container").read_text() == "inside\n"
    (told,) = container.status().mounts
    assert (told.container_path, told.host_path, told.readonly) == ("/data/deep", str(tmp_path), False)


def test_a_read_only_mount(pod, tmp_path):
    (tmp_path / "x").write_text("x")
    container = pod.run(SLEEPER, mounts=[pb.Mount(container_path="/data", host_path=str(tmp_path), readonly=True)])
    answer = container.execute("touch", "/data/y")
    assert answer.exit_code == 1 and b"ead-only" in answer.stderr
    assert container.execute("mount", "-o", "remount,rw", "/data").exit_code != 0


def test_a_file_as_mount(pod, tmp_path):
    (tmp_path / "f").write_text("content\n")
    mount = pb.Mount(container_path="/etc/new/file", host_path=str(tmp_path / "f"))
    assert pod.output("cat /etc/new/file", mounts=[mount]) == "content\n"


def test_a_missing_host_path_becomes_a_directory(pod, tmp_path):
    path = tmp_path / "not" / "there"
    assert pod.output("ls -d /data", mounts=[pb.Mount(container_path="/data", host_path=str(path))]) == "/data\n"
    assert path.is_dir()


def test_a_host_path_that_is_a_link_means_its_target(pod, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_text("x\n")
    (tmp_path / "link").symlink_to("real")
    container = pod.run(SLEEPER, mounts=[pb.Mount(container_path="/data", host_path=str(tmp_path / "link"))])
    assert container.shell("cat /data/x") == "x\n"
    assert container.status().mounts[0].host_path == str(tmp_path / "link")


def test_parents_are_mounted_before_children(pod, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    mounts = [pb.Mount(container_path="/v/b", host_path=str(tmp_path / "b")),
              pb.Mount(container_path="/v", host_path=str(tmp_path / "a"))]
    assert pod.output("ls /v /v/b | tr '\\n' ' '", mounts=mounts).split() == ["/v:", "a", "b", "/v/b:", "b"]


def test_kubelets_hosts_file_wins(pod, tmp_path):
    (tmp_path / "hosts").write_text("10.9.8.7 from-kubelet\n")
    mounts = [pb.Mount(container_path="/etc/hosts", host_path=str(tmp_path / "hosts")),
              pb.Mount(container_path="/dev/termination-log", host_path=str(tmp_path / "log"))]
    (tmp_path / "log").touch()
    assert pod.output("cat /etc/hosts; echo bye > /dev/termination-log", mounts=mounts) == "10.9.8.7 from-kubelet\n"
    assert (tmp_path / "log").read_text() == "bye\n"


def test_no_mount_of_a_container_is_seen_on_the_host(pod, daemon, tmp_path):
    pod.run(SLEEPER, mounts=[pb.Mount(container_path="/data", host_path=str(tmp_path))])
    with open("/proc/self/mountinfo") as file:
        assert not [line for line in file if str(daemon.base) in line]


@pytest.mark.parametrize("mount", [
    pb.Mount(container_path="", host_path="/tmp"), pb.Mount(container_path="/x", host_path=""),
    pb.Mount(container_path="/x", host_path="/tmp", recursive_read_only=True),
    pb.Mount(container_path="/x", host_path="/tmp", propagation=17),
])
def test_mounts_that_make_no_sense_are_refused(pod, mount):
    assert pod.create_refused(["true"], mounts=[mount]).code == grpc.StatusCode.INVALID_ARGUMENT


def test_recursive_read_only(pod, tmp_path):
    container = pod.run(SLEEPER, mounts=[pb.Mount(
        container_path="/data", host_path=str(tmp_path), readonly=True, recursive_read_only=True)])
    assert container.execute("touch", "/data/y").exit_code == 1
    assert os.listdir(tmp_path) == []
