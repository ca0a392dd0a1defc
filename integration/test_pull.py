"""Images from a registry: by tag, by digest, with basic auth, and from registries that misbehave."""

import threading
import time

import grpc
import pytest

from lib import images, oci, tar


@pytest.fixture
def cri(cri, clean):
    """Without the images a case pulled, once it is over."""
    return cri


def unique(text: str, compressed: bool = True) -> oci.Image:
    """An image whose layer and configuration no other case has."""
    return images.busybox().with_layers(oci.Layer.of(tar.file("unique", text + "\n"), compressed=compressed))


def test_by_tag(cri, pod, registry):
    image = unique("by tag")
    reference = registry.push("some/repository", "v1", image)
    assert cri.pull(reference) == image.id
    status = cri.image_status(reference)
    assert status.id == image.id
    assert list(status.repo_tags) == [reference]
    assert list(status.repo_digests) == [f"{registry.name}/some/repository@{image.digest}"]
    assert pod.output("cat /unique", image=reference) == "by tag\n"
    assert pod.output("cat /unique", image=image.id) == "by tag\n"


def test_without_a_tag_latest_is_meant(cri, registry):
    image = unique("latest")
    registry.push("plain", "latest", image)
    assert cri.pull(f"{registry.name}/plain") == image.id
    assert list(cri.image_status(image.id).repo_tags) == [f"{registry.name}/plain:latest"]


def test_by_digest(cri, registry):
    image = unique("by digest")
    registry.push("digested", "v1", image)
    reference = f"{registry.name}/digested@{image.digest}"
    assert cri.pull(reference) == image.id
    status = cri.image_status(reference)
    assert list(status.repo_tags) == [] and list(status.repo_digests) == [reference]


def test_an_index(cri, pod, registry):
    mine, other = unique("amd64"), oci.Image([oci.Layer.of(tar.file("x", "arm"))], {}, "arm64")
    index = oci.Index(other, mine)
    reference = registry.push("multi", "v1", index)
    assert cri.pull(reference) == mine.id
    assert list(cri.image_status(reference).repo_digests) == [f"{registry.name}/multi@{index.digest}"]
    assert pod.output("cat /unique", image=reference) == "amd64\n"


def test_plain_layers(cri, pod, registry):
    reference = registry.push("uncompressed", "v1", unique("plain layer", compressed=False))
    cri.pull(reference)
    assert pod.output("cat /unique", image=reference) == "plain layer\n"


def test_again_is_the_same(cri, registry):
    reference = registry.push("again", "v1", unique("again"))
    assert cri.pull(reference) == cri.pull(reference)
    assert len([image for image in cri.images() if reference in image.repo_tags]) == 1


def test_two_names_of_one_image(cri, registry):
    image = unique("two names")
    first, second = registry.push("first", "v1", image), registry.push("second", "v1", image)
    assert cri.pull(first) == cri.pull(second) == image.id
    assert sorted(cri.image_status(image.id).repo_tags) == sorted([first, second])


def test_a_tag_that_moved(cri, registry):
    old, new = unique("old"), unique("new")
    reference = registry.push("moving", "v1", old)
    cri.pull(reference)
    registry.push("moving", "v1", new)
    assert cri.pull(reference) == new.id
    assert cri.image_status(reference).id == new.id
    assert list(cri.image_status(old.id).repo_tags) == []


def test_many_at_once_share_the_work(cri, registry):
    image, found = unique("shared"), []
    reference = registry.push("shared", "v1", image)
    threads = [threading.Thread(target=lambda: found.append(cri.pull(reference))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [image.id] * 6


def test_basic_auth(cri, private_registry):
    image = unique("private")
    reference = private_registry.push("secret/image", "v1", image)
    user, password = private_registry.credentials
    refused = cri.refused("PullImage", image={"image": reference})
    assert refused.code != grpc.StatusCode.OK and private_registry.name in refused.text
    assert cri.pull(reference, username=user, password=password) == image.id


def test_basic_auth_in_its_encoded_form(cri, private_registry):
    import base64

    image = unique("encoded")
    reference = private_registry.push("secret/encoded", "v1", image)
    encoded = base64.b64encode(":".join(private_registry.credentials).encode()).decode()
    assert cri.pull(reference, auth=encoded) == image.id


def test_wrong_password_is_refused_and_told_nowhere(cri, daemon, private_registry):
    reference = private_registry.push("secret/image", "v2", unique("wrong"))
    request = dict(image={"image": reference}, auth={"username": "alice", "password": "wr0ng-and-private"})
    refused = cri.refused("PullImage", **request)
    assert refused.code != grpc.StatusCode.OK
    assert "wr0ng-and-private" not in refused.text
    assert "wr0ng-and-private" not in daemon.output.read_text()


def test_credentials_for_another_server_are_not_sent(cri, private_registry):
    reference = private_registry.push("secret/image", "v3", unique("other server"))
    user, password = private_registry.credentials
    request = dict(image={"image": reference},
                   auth={"username": user, "password": password, "server_address": "https://elsewhere.example"})
    assert cri.refused("PullImage", **request).code != grpc.StatusCode.OK


def test_an_unknown_tag_is_not_found(cri, registry):
    registry.push("known", "v1", unique("known"))
    for reference in (f"{registry.name}/known:no-such-tag", f"{registry.name}/no/such/repository:v1"):
        refused = cri.refused("PullImage", image={"image": reference})
        assert refused.code == grpc.StatusCode.NOT_FOUND
        assert reference in refused.text


@pytest.mark.parametrize("reference", [
    "", "lower/UPPER", "a b", "x:", "x@sha256:short", "-x", "http://x/y", "x:tag:tag"])
def test_a_malformed_reference_is_refused(cri, reference):
    assert cri.refused("PullImage", image={"image": reference}).code == grpc.StatusCode.INVALID_ARGUMENT


def test_nobody_listens(cri):
    refused = cri.refused("PullImage", image={"image": "127.0.0.1:1/x:v1"})
    assert refused.code == grpc.StatusCode.UNKNOWN  # kubelet reads the text only under this code
    assert refused.text.startswith("RegistryUnavailable"), refused
    assert "127.0.0.1:1" in refused.text


def test_a_registry_that_does_not_answer(cri, hostile):
    """The client's deadline is what ends it."""
    registry = hostile("silent")
    began = time.monotonic()
    refused = cri.refused("PullImage", image={"image": registry.reference}, timeout=2)
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 50
    assert cri.image_status(registry.reference) is None


@pytest.mark.parametrize("fault, word", [
    ("mismatch", "digest"), ("truncated", ""), ("manifest", "digest"), ("unauthorized", ""), ("error", "500"),
    ("redirect", ""),
])
def test_a_registry_that_misbehaves(cri, daemon, hostile, fault, word):
    registry = hostile(fault, unique(f"hostile {fault}"))
    refused = cri.refused("PullImage", image={"image": registry.reference}, timeout=120)
    assert refused.code not in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED), refused
    assert registry.name in refused.text, refused
    assert word in refused.text, refused
    assert cri.image_status(registry.reference) is None
    assert len(registry.requests) < 40, registry.requests


def test_a_deadline_of_a_millisecond(cri, registry):
    reference = registry.push("late", "v1", unique("late"))
    refused = cri.refused("PullImage", image={"image": reference}, timeout=0.001)
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert cri.pull(reference)


def test_a_puller_that_leaves_does_not_take_the_others_along(cri, hostile, registry):
    image = unique("leaves")
    reference = registry.push("leaves", "v1", image)
    found = []
    thread = threading.Thread(target=lambda: found.append(cri.pull(reference)))
    thread.start()
    try:
        cri.pull(reference, timeout=0.005)
    except grpc.RpcError:
        pass
    thread.join()
    assert found == [image.id]


def test_a_slow_registry_ends_with_its_client_and_leaves_nothing(cri, daemon, hostile):
    registry = hostile("slow", unique("slow"))
    refused = cri.refused("PullImage", image={"image": registry.reference}, timeout=1.5)
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    # the census of the `daemon` fixture finds partial files and open connections


def test_create_wants_a_local_image(pod):
    refused = pod.create_refused(["true"], image="docker.io/library/not-here:v1")
    assert refused.code == grpc.StatusCode.NOT_FOUND and "not-here" in refused.text
