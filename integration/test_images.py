"""Images from archives: what is loaded, listed, unpacked and removed."""

import struct

import grpc
import pytest

from lib import images, oci, tar
from lib.cri import SLEEPER
from lib.trees import below


ARCHIVES = {
    "oci": lambda named: oci.layout_archive(named),
    "docker": lambda named: oci.docker_archive(named),
}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("compressed", [True, False], ids=["gzip", "plain"])
def test_load(cri, pod, clean, kind, compressed):
    layer = oci.Layer.of(tar.file("hello", "from the layer\n"), compressed=compressed)
    image = images.busybox().with_layers(layer)
    (loaded,) = cri.load(ARCHIVES[kind]({"example.com/a/b:v1": image}))
    assert loaded.id == image.id and list(loaded.names) == ["example.com/a/b:v1"]
    assert pod.output("cat /hello", image="example.com/a/b:v1") == "from the layer\n"


def test_a_compressed_archive(cri, clean):
    import gzip

    image = images.busybox().with_config(Labels={"x": "gzip"})
    (loaded,) = cri.load(gzip.compress(oci.layout_archive({"example.com/z:v1": image})))
    assert loaded.id == image.id


def test_several_images_in_one_archive(cri, clean):
    first, second = (images.busybox().with_config(Labels={"x": name}) for name in "ab")
    loaded = cri.load(oci.layout_archive({"example.com/a:v1": first, "example.com/b:v1": second}))
    assert {image.id for image in loaded} == {first.id, second.id}


def test_names_are_completed(cri, clean):
    image = images.busybox().with_config(Labels={"x": "short"})
    (loaded,) = cri.load(oci.docker_archive({"short": image}))
    assert list(loaded.names) == ["docker.io/library/short:latest"]
    for name in ("short", "short:latest", "docker.io/library/short", "library/short", image.id, image.id[7:],
                 image.id[7:19]):
        assert cri.image_status(name).id == image.id, name


def test_the_index_entry_for_this_machine_is_chosen(cri, pod, clean):
    mine = images.busybox().with_layers(oci.Layer.of(tar.file("which", "amd64\n")))
    other = oci.Image([oci.Layer.of(tar.file("which", "arm64\n"))], {}, "arm64")
    cri.load(oci.layout_archive({"example.com/multi:v1": oci.Index(other, mine)}))
    assert pod.output("cat /which", image="example.com/multi:v1") == "amd64\n"
    assert cri.image_status("example.com/multi:v1").id == mine.id


def test_an_index_without_this_machine_is_refused(cri, clean):
    other = oci.Image([oci.Layer.of(tar.file("which", "arm64\n"))], {}, "arm64")
    refused = cri.load_refused(oci.layout_archive({"example.com/arm:v1": oci.Index(other)}))
    assert refused.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
    assert "arm64" in refused.text
    assert cri.image_status("example.com/arm:v1") is None


def test_list_and_status(cri, clean):
    image = images.busybox().with_config(User="1000")
    cri.load(oci.layout_archive({"example.com/a:v1": image, "example.com/b:v2": image}))
    (listed,) = [found for found in cri.images() if found.id == image.id]
    assert sorted(listed.repo_tags) == ["example.com/a:v1", "example.com/b:v2"]
    assert listed.size > 0 and listed.uid.value == 1000
    assert cri.image_status("example.com/a:v1") == cri.image_status(image.id) == listed
    assert cri.image_status("example.com/a:v9") is None
    assert cri.image_status("sha256:" + "0" * 64) is None
    answer = cri.call("ImageStatus", image={"image": "example.com/a:v1"}, verbose=True)
    assert image.id in answer.info["info"] or "imageSpec" in answer.info["info"]


def test_list_honours_its_filter(cri, clean):
    image = images.busybox().with_config(Labels={"x": "filter"})
    cri.load(oci.layout_archive({"example.com/f:v1": image}))
    answer = cri.call("ListImages", filter={"image": {"image": "example.com/f:v1"}})
    assert [found.id for found in answer.images] == [image.id]


def test_a_tag_that_moves(cri, clean):
    first, second = (images.busybox().with_config(Labels={"x": name}) for name in "ab")
    cri.load(oci.layout_archive({"example.com/moving:v1": first}))
    cri.load(oci.layout_archive({"example.com/moving:v1": second}))
    assert cri.image_status("example.com/moving:v1").id == second.id
    assert list(cri.image_status(first.id).repo_tags) == []


def test_remove_takes_all_names_of_the_image(cri, clean):
    image = images.busybox().with_config(Labels={"x": "remove"})
    cri.load(oci.layout_archive({"example.com/a:v1": image, "example.com/b:v1": image}))
    cri.remove_image("example.com/a:v1")
    assert cri.image_status("example.com/b:v1") is None and cri.image_status(image.id) is None
    cri.remove_image("example.com/a:v1")  # twice is success


def test_remove_while_a_container_uses_it(cri, pod, image):
    name = image(oci.Layer.of(tar.file("kept", "still here\n")))
    container = pod.run(SLEEPER, image=name)
    id = container.status().image_id
    cri.remove_image(name)
    assert cri.image_status(name) is None
    assert container.shell("cat /kept") == "still here\n"
    assert container.status().image_id == id
    refused = pod.create_refused(["true"], image=name, name="second")
    assert refused.code == grpc.StatusCode.NOT_FOUND


def test_many_removals_at_once(cri, clean):
    import concurrent.futures

    image = images.busybox().with_config(Labels={"x": "many"})
    cri.load(oci.layout_archive({"example.com/m:v1": image}))

    def remove(_):
        cri.remove_image("example.com/m:v1")
        return cri.image_status("example.com/m:v1")

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(remove, range(5))) == [None] * 5


def test_load_is_idempotent(cri, clean):
    archive = oci.layout_archive({"example.com/again:v1": images.busybox().with_config(Labels={"x": "again"})})
    assert cri.load(archive) == cri.load(archive)
    assert len([image for image in cri.images() if "example.com/again:v1" in image.repo_tags]) == 1


@pytest.mark.parametrize("archive, word", [
    (b"", ""), (b"not an archive at all" * 100, ""), (tar.archive([tar.file("x", "y")]), ""),
], ids=["empty", "noise", "other tar"])
def test_what_is_no_image_archive_is_refused(cri, archive, word):
    assert cri.load_refused(archive).code == grpc.StatusCode.INVALID_ARGUMENT


def broken_layout(change) -> bytes:
    image = images.busybox().with_layers(oci.Layer.of(tar.file("x", "unique content of the broken layout")))
    data = oci.layout_archive({"example.com/broken:v1": image})
    return change(data, image)


@pytest.mark.parametrize("change", [
    lambda data, image: data.replace(image.config_blob[:40], image.config_blob[:39] + b"?", 1),
    lambda data, image: data[:len(data) // 2],
    lambda data, image: data.replace(image.layers[1].digest[7:].encode(), b"0" * 64),
], ids=["altered blob", "truncated archive", "missing blob"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(cri, change):
    refused = cri.load_refused(broken_layout(change))
    assert refused.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS)
    assert cri.image_status("example.com/broken:v1") is None


def test_a_layer_that_is_not_what_its_diff_id_says(cri):
    image = images.busybox().with_layers(oci.Layer.of(tar.file("x", "a")))
    image.config["rootfs"]["diff_ids"][1] = "sha256:" + "0" * 64
    assert cri.load_refused(oci.layout_archive({"example.com/diff:v1": image})).code in (
        grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS)


# what a layer's entries become


def test_ids_and_modes(pod, image):
    name = image(oci.Layer.of(
        tar.directory("d/", mode=0o1777, uid=1000, gid=50), tar.file("d/setuid", "x", mode=0o4755),
        tar.file("d/setgid", "x", mode=0o2711, uid=5, gid=6), tar.file("d/none", "x", mode=0),
        tar.file("d/big", "x", uid=3000000, gid=3000001), tar.fifo("d/fifo", mode=0o620),
        tar.symlink("d/link", "none", uid=7, gid=8), tar.character("d/null", 1, 3, mode=0o666)))
    text = pod.output("cd /d; stat -c '%n %a %u:%g %F' . setuid setgid none big fifo link null", image=name)
    assert text.splitlines() == [
        ". 1777 1000:50 directory", "setuid 4755 0:0 regular file", "setgid 2711 5:6 regular file",
        "none 0 0:0 regular file", "big 644 3000000:3000001 regular file", "fifo 620 0:0 fifo",
        "link 777 7:8 symbolic link", "null 666 0:0 character special file"]


def test_modification_times(pod, image):
    name = image(oci.Layer.of(tar.directory("d/", mtime=1000000000), tar.file("d/f", "x", mtime=1234567890)))
    assert pod.output("stat -c %Y /d /d/f", image=name) == "1000000000\n1234567890\n"


def test_hardlinks(pod, image):
    name = image(oci.Layer.of(tar.file("a", "one\n"), tar.hardlink("b", "a"), tar.hardlink("c", "/a"),
                              tar.symlink("s", "a"), tar.hardlink("t", "s")))
    text = pod.output("stat -c '%h %i' /a /b /c; cat /c; readlink /t", image=name).splitlines()
    assert len(set(text[:3])) == 1 and text[0].startswith("3 ")
    assert text[3:] == ["one", "a"]


def test_a_hardlink_to_a_lower_layer(pod, image):
    name = image(oci.Layer.of(tar.file("low", "from below\n", mode=0o640, uid=3)),
                 oci.Layer.of(tar.hardlink("high", "low")))
    assert pod.output("cat /high; stat -c '%a %u' /high /low", image=name) == "from below\n640 3\n640 3\n"


def test_extended_attributes(pod, image, daemon):
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep
    name = image(oci.Layer.of(tar.file("with-xattr-case", "x", mode=0o755, uid=5,
                                       xattrs={"user.note": b"a\0b", "security.capability": capability})))
    import os

    assert pod.output("ls /with-xattr-case", image=name)
    (path,) = below(daemon.root, "with-xattr-case")
    assert os.getxattr(path, "user.note") == b"a\0b"
    assert os.getxattr(path, "security.capability") == capability


def test_overlays_own_attributes_are_not_taken_from_an_image(pod, image, daemon):
    import os

    name = image(oci.Layer.of(tar.directory("redirect-case/", xattrs={
        "trusted.overlay.redirect": b"/etc", "trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y"})))
    pod.output("true", image=name)
    for path in below(daemon.root, "redirect-case"):
        assert not [key for key in os.listxattr(path) if ".overlay." in key]


def test_whiteouts(pod, image):
    name = image(
        oci.Layer.of(tar.directory("d/"), tar.file("d/gone", "x"), tar.file("d/kept", "x"), tar.file("top", "x"),
                     tar.directory("tree/"), tar.file("tree/leaf", "x")),
        oci.Layer.of(tar.whiteout("d/gone"), tar.whiteout("top"), tar.whiteout("tree"), tar.whiteout("never/was")))
    assert pod.output("ls /d; ls -d /top /tree 2>/dev/null || true", image=name) == "kept\n"


def test_an_opaque_directory_hides_what_is_below_and_keeps_its_own(pod, image):
    below = oci.Layer.of(tar.directory("d/"), tar.file("d/old", "x"), tar.directory("d/sub/"), tar.file("d/sub/x", "x"))
    before = image(below, oci.Layer.of(tar.directory("d/"), tar.opaque("d"), tar.file("d/new", "x")))
    after = image(below, oci.Layer.of(tar.directory("d/"), tar.file("d/new", "x"), tar.opaque("d")))
    for name in (before, after):
        assert pod.output("ls /d", image=name) == "new\n"


def test_a_removed_path_made_again(pod, image):
    name = image(oci.Layer.of(tar.file("p", "old")), oci.Layer.of(tar.whiteout("p")),
                 oci.Layer.of(tar.directory("p/"), tar.file("p/q", "new\n")))
    assert pod.output("cat /p/q", image=name) == "new\n"


def test_replaced_kinds(pod, image):
    name = image(
        oci.Layer.of(tar.file("a", "file"), tar.directory("b/"), tar.file("b/x", "x"), tar.symlink("c", "/etc"),
                     tar.directory("e/"), tar.file("e/kept", "x")),
        oci.Layer.of(tar.directory("a/"), tar.file("a/y", "y"), tar.file("b", "now a file\n"),
                     tar.directory("c/"), tar.file("c/z", "z"), tar.directory("e/", mode=0o700)))
    text = pod.output("ls /a /c; cat /b; stat -c '%a %F' /c /e; ls /e; ls /etc | grep -c z || true", image=name)
    assert text.split("\n") == ["/a:", "y", "", "/c:", "z", "now a file", "755 directory", "700 directory", "kept",
                                "0", ""]


def test_missing_parents_are_made(pod, image):
    name = image(oci.Layer.of(tar.file("no/such/parents/f", "x", uid=5)))
    assert pod.output("stat -c '%a %u:%g' /no /no/such /no/such/parents", image=name) == "755 0:0\n" * 3


def test_odd_names(pod, image):
    names = ["with space", "new\nline", "\u00fcml\u00e4ut", "x" * 255]
    name = image(oci.Layer.of(*(tar.file("odd/" + odd, "x") for odd in names)))
    text = pod.output("cd /odd; for f in *; do printf '%s|' \"$f\"; done", image=name)
    assert set(text.split("|")) - {""} == set(names)


@pytest.mark.parametrize("spelled", ["./f", "/f", ".//./f", "x/../f"])
def test_names_are_cleaned(pod, image, spelled):
    assert pod.output("cat /f", image=image(oci.Layer.of(tar.file(spelled, f"{spelled}\n")))) == f"{spelled}\n"


def test_the_roots_own_mode(pod, image):
    assert pod.output("stat -c '%a' /", image=image(oci.Layer.of(tar.directory("./", mode=0o711)))) == "711\n"


def test_many_layers(pod, image):
    layers = [oci.Layer.of(tar.file(f"many/{number}", "x"), tar.file("same", f"{number}\n")) for number in range(40)]
    assert pod.output("ls /many | wc -l; cat /same", image=image(*layers)) == "40\n39\n"


def test_an_image_volume_keeps_its_content(pod, image):
    name = image(oci.Layer.of(tar.directory("vol/", uid=1000, mode=0o750), tar.file("vol/x", "from image\n")),
                 Volumes={"/vol": {}})
    first = pod.run(SLEEPER, image=name, name="first")
    assert first.shell("cat /vol/x; stat -c '%a %u' /vol") == "from image\n750 1000\n"
    first.shell("echo changed > /vol/x")
    assert pod.output("cat /vol/x", image=name) == "from image\n"


def test_layers_are_shared(cri, daemon, clean):
    def files() -> int:
        return len(below(daemon.root, "busybox"))

    before = files()
    cri.load(oci.layout_archive({"example.com/same:v1": images.busybox().with_config(Labels={"x": "shared"})}))
    assert files() == before
