"""I06: what an image makes of the layers below it is bounded as what it brings is: a link of some bytes, or a VOLUME,
copies no hole, and no more than may be unpacked.

Bombs that unpack: test_I05. Seen to fail with copies that read holes (hard links to files of lower layers; VOLUMEs)."""

import os
import pathlib

from lib import images, oci, tar
from lib.cri import SLEEPER

MIB = 1 << 20
SIZE = 256 * MIB


def hollow(name: str) -> tar.Entry:
    """A file of 256 MiB that holds 512 bytes at its end (GNU's sparse format 1.0, in a pax header)."""
    table = f"1\n{SIZE - 512}\n512\n".encode().ljust(512, b"\0")
    facts = {"major": "1", "minor": "0", "name": name, "realsize": str(SIZE)}
    return tar.file(f"GNUSparseFile.0/{name}", table + b"end".rjust(512, b"\0"),
                    pax={f"GNU.sparse.{key}": value for key, value in facts.items()})


def allocated(directory: pathlib.Path) -> int:
    """Bytes on disk of all files below."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(directory) for name in names)


def test_links_to_a_hollow_file_of_a_lower_layer(cri, daemon, clean, pod):
    before = allocated(daemon.root / "images")
    image = images.busybox().with_layers(
        oci.Layer.of(hollow("hollow")), oci.Layer.of(*(tar.hardlink(f"link-{n}", "hollow") for n in range(4))))
    cri.load(oci.layout_archive({"docker.io/test/hollow:v1": image}))
    assert allocated(daemon.root / "images") - before < 8 * MIB
    text = pod.output("stat -c %s /hollow /link-3; tail -c 3 /link-3; tail -c 512 /link-0 | head -c 509 | tr -d '\\0'",
                      image="test/hollow:v1")
    assert text == f"{SIZE}\n{SIZE}\nend"


def test_a_volume_with_a_hollow_file(daemon, image, pod):
    name = image(oci.Layer.of(tar.directory("data/"), hollow("data/hollow")), Volumes={"/data": {}})
    before = allocated(daemon.root / "images")
    container = pod.run(SLEEPER, image=name)
    assert allocated(daemon.root / "images") - before < 8 * MIB
    assert container.shell("stat -c %s /data/hollow; tail -c 3 /data/hollow") == f"{SIZE}\nend"
