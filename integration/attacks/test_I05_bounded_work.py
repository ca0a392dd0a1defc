"""I05: an archive cannot make the daemon work for ever: repeated opaque whiteouts, deep trees, many entries, bombs."""

import gzip
import os
import threading
import time

import grpc
import pytest

from lib import images, oci, tar
from lib.memory import MIB, Peak
from lib.pods import cpu_ticks

OPAQUE = tar.member(tar.opaque("d"))
END = b"\0" * 1024
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DATA_LOSS}


def load(daemon, content: bytes) -> tuple[float, str]:
    """How many seconds of a processor the daemon worked, and the refusal's text if it was one."""
    layer = oci.Layer(content)
    archive = oci.layout_archive({"example.com/work:v1": images.busybox().with_layers(layer)})
    refusal, began = "", cpu_ticks(daemon.pid)
    try:
        daemon.client.load(archive)
    except grpc.RpcError as error:
        assert error.code() in REFUSALS, error.details()
        refusal = error.details()
    return (cpu_ticks(daemon.pid) - began) / os.sysconf("SC_CLK_TCK"), refusal


def test_a_hundred_thousand_opaque_whiteouts(cri, daemon, clean):
    entries = [tar.member(tar.directory("d/"))] + [tar.member(tar.file(f"d/{i}", "x")) for i in range(500)]
    took, _ = load(daemon, b"".join(entries) + OPAQUE * 100_000 + END)
    assert took < 10
    assert cri.call("Version").version


@pytest.mark.slow
def test_a_million_opaque_whiteouts(daemon, clean):
    took, refused = load(daemon, tar.member(tar.directory("d/")) + OPAQUE * 1_000_000 + END)
    assert took < 15 or refused


def test_a_deep_tree(daemon, clean):
    path, entries = "", []
    for _ in range(1500):
        path += "d/"
        entries.append(tar.member(tar.directory(path)))
        entries.append(tar.member(tar.opaque(path.rstrip("/"))))
    took, _ = load(daemon, b"".join(entries) + END)
    assert took < 10


def test_the_daemon_answers_meanwhile(cri, daemon, clean):
    def quick(number: int) -> bool:
        """Of the answers during a load: whether it is nowhere near the load's own time."""
        content = b"".join(tar.member(tar.file(f"f{number}-{i}", "x")) for i in range(4000)) + END
        thread = threading.Thread(target=lambda: load(daemon, content))
        thread.start()
        longest, start = 0.0, time.monotonic()
        while thread.is_alive():
            began = time.monotonic()
            cri.call("ListPodSandbox")
            longest = max(longest, time.monotonic() - began)
        thread.join()
        return longest < max(1, (time.monotonic() - start) / 4)

    # However slow the machine is: nobody waits for the load. One that stood still for a second is asked again.
    assert any(quick(number) for number in range(5))


def test_a_header_that_claims_more_than_there_is(daemon, clean):
    entry = tar.file("f", "little")
    entry.size = 1 << 33
    took, refused = load(daemon, tar.member(entry) + END)
    assert refused and took < 5


def test_a_pax_header_of_many_megabytes(daemon, clean):
    """The parser has a limit of its own for one."""
    entry = tar.file("f", "x")
    entry.pax = {"comment": "x" * (64 << 20)}
    took, refused = load(daemon, tar.member(entry) + END)
    assert refused and took < 10


def test_very_many_headers_before_one_entry(daemon, clean):
    """Each within the parser's limit: what stops them is ours."""
    entry = tar.file("f", "x")
    headers = b"".join(
        tar.header(tar.Entry("pax", b"x"), b"PaxHeaders/f", b"", len(record)) + tar.padded(record)
        for record in (tar.pax_record(b"comment", b"x" * (512 << 10)),) * 64)
    peak = Peak(daemon.pid)
    took, refused = load(daemon, headers + tar.member(entry) + END)
    assert "headers of one entry are too large" in refused and took < 10
    assert peak.grown() < 64 * MIB


def test_many_extended_attributes(daemon, clean):
    entry = tar.file("f", "x", xattrs={f"user.a{i}": b"x" * 100 for i in range(5000)})
    took, _ = load(daemon, tar.member(entry) + END)
    assert took < 10


def test_a_manifest_that_is_too_large(cri, clean):
    image = images.busybox().with_config(Labels={"big": "x" * (12 << 20)})
    refused = cri.load_refused(oci.layout_archive({"example.com/big:v1": image}))
    assert refused.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)


def test_zeros_after_the_archives_end_are_read_and_thrown_away(cri, clean):
    layer = oci.Layer(tar.archive([tar.file("f", "x")]) + b"\0" * (8 << 20))
    assert gzip.decompress(layer.blob) == layer.content
    cri.load(oci.layout_archive({"example.com/zeros:v1": images.busybox().with_layers(layer)}))
