"""L31, L32: nothing of an image is run or loaded on the host's side, by no verb (CVE-2019-14271, CVE-2022-1227)."""

import re
import subprocess

import pytest

from lib import binaries, images, oci, tar, tracing
from lib.cri import SLEEPER, security
from lib.stubs import pb
from lib.swiftlet import Swiftlet
from lib.trace import children, processes, shim_of

TOOLS = ["usr/bin/tar", "usr/bin/xz", "usr/bin/unpigz", "usr/bin/zstd", "usr/bin/nsenter", "usr/bin/ip", "usr/sbin/ip",
         "usr/sbin/nft", "usr/sbin/iptables", "usr/bin/ps", "usr/bin/top", "usr/sbin/runc", "usr/bin/newuidmap",
         "usr/local/bin/swiftlet-shim", "usr/local/bin/swiftlet-pause", "swiftlet-shim"]
LIBRARIES = ["libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libc.so.6", "libseccomp.so.2",
             "libgcc_s.so.1", "gconv/UTF-16.so"]


CONFIG = dict(Env=["LD_PRELOAD=/lib/x86_64-linux-gnu/libc.so.6", "LD_LIBRARY_PATH=/lib64",
                   "GCONV_PATH=/usr/lib/x86_64-linux-gnu/gconv", "PATH=/bin"])


def layer(canary) -> oci.Layer:
    """Everything in it leaves a mark at the canary's path, wherever it is run."""
    mark = str(canary.path / "rw" / "mark")
    library = binaries.planted_library(mark)
    script = f"#!/bin/sh\necho run > {mark}\n"
    entries = [tar.file(path, script, mode=0o755) for path in TOOLS]
    for directory in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64"):
        entries += [tar.file(f"{directory}/{name}", library, mode=0o755) for name in LIBRARIES]
    entries += [tar.file("etc/ld.so.preload", "/lib/x86_64-linux-gnu/libnss_files.so.2\n"),
                tar.file("etc/nsswitch.conf", "passwd: evil files\ngroup: evil files\n"),
                tar.file("etc/ld.so.conf", "/lib/x86_64-linux-gnu\n")]
    return oci.Layer.of(*entries)


def zstd(layer: oci.Layer) -> oci.Layer:
    """The same files, packed otherwise."""
    packed = oci.Layer(layer.content, compressed=False)
    packed.blob = subprocess.run(["zstd", "-q", "-c"], input=layer.content, capture_output=True, check=True).stdout
    packed.digest, packed.media_type = oci.digest(packed.blob), oci.LAYER + "+zstd"
    return packed


@pytest.fixture
def planted(image, canary) -> str:
    return image(layer(canary), **CONFIG)


def test_every_verb_leaves_the_canary_alone(listening, cri, daemon, programs, planted, tmp_path):
    pod = cri.run_pod()
    container = pod.run(SLEEPER, image=planted, linux=security(run_as_username="alice"))
    assert container.shell("id -un") == "alice\n"
    client = Swiftlet(programs / "swiftlet", daemon, tmp_path)
    for words in (["ps"], ["pods"], ["images"], ["inspect", pod.id], ["inspect", container.id], ["net"],
                  ["logs", container.id], ["exec", container.id, "--", "id"], ["stop", container.id],
                  ["rm", "-f", pod.id]):
        client.run(*words)
    # the canary fixture compares the tree on the host


def test_no_program_but_the_containers_own_is_started(pod, planted):
    """And nothing of the image is mapped as code before that."""
    with processes(pod, "clone3", "execve", "execveat", "mmap", "mprotect") as found:
        container = pod.run(SLEEPER, image=planted)
        container.shell("true")
    shim = shim_of(pod)
    born = children(found, shim)
    assert len(born) == 2, found
    for calls in born.values():
        started = [arguments for name, arguments, _ in calls if name.startswith("execve")]
        assert started[-1].startswith('"/bin/sh"'), started
        assert all("/sh" in arguments.split(",")[0] for arguments in started), started
        assert not [call for call in calls if call[0] == "mmap" and "PROT_EXEC" in call[1]], calls
    assert not [call for call in found[shim] if call[0].startswith("execve") or re.search("PROT_EXEC", call[1])]


def test_the_daemon_starts_shims_and_nothing_else(cri, daemon, programs, registry, canary, clean, tmp_path):
    """From the pull of such an image to its removal: what the daemon and all below it run. Its layers are packed in
    every way that there is, and each has the programs that unpack."""
    gzip, plain = layer(canary), oci.Layer(layer(canary).content, compressed=False)
    image = images.busybox().with_layers(gzip, plain, zstd(gzip)).with_config(**CONFIG)
    reference = registry.push("attacks/planted", "v1", image)
    with tracing.traced(daemon.pid, tmp_path / "trace", "execve", "execveat"):
        cri.pull(reference, timeout=180)
        pod = cri.run_pod()
        container = pod.run(["/bin/sh", "-c", SLEEPER[2]], image=reference)
        container.execute("/bin/true")
        container.stop()
        container.remove()
        pod.stop()
        pod.remove()
        cri.remove_image(reference)
    done = [call for call in tracing.calls(tmp_path / "trace") if call[3] == 0]
    started = [re.search(r'"([^"]*)"', arguments).group(1) for _, _, arguments, _ in done]
    inside = {"/bin/sh", "/bin/true", "/proc/self/exe"}  # the last is busybox's own sleep
    # By descriptor: the shim once more from its read-only mount, and pause.
    assert {name for name in started if name not in inside} == {str(programs / "swiftlet-shim"), ""}, done
