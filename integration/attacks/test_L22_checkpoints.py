"""L22, D14: nothing is restored from a checkpoint: what an archive or image says of a former container is not believed
(CVE-2026-119101, CVE-2026-92574, CVE-2026-95837)."""

import json

import grpc
import pytest

from lib import images, oci, tar

KEYS = {"io.kubernetes.cri-o.annotations.checkpoint.name": "main", "org.criu.checkpoint.container.name": "main",
        "org.criu.checkpoint.engine.name": "swiftlet", "org.criu.checkpoint.rootfsImageName": "busybox"}


@pytest.mark.parametrize("method", ["CheckpointContainer", "CheckpointPod", "RestorePod"])
def test_the_calls_are_unimplemented(cri, pod, method):
    before = [item.id for item in cri.pods()]
    refused = cri.refused(method)
    assert refused.code == grpc.StatusCode.UNIMPLEMENTED and method in refused.text
    assert [item.id for item in cri.pods()] == before


@pytest.fixture
def checkpoint(cri, canary, clean) -> str:
    """An image as checkpoint tools make it, whose former container had the canary mounted and ran with everything."""
    spec = {"process": {"args": ["sh"], "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, "linux": {},
            "mounts": [{"destination": "/host]:/x", "type": "bind", "source": str(canary.path), "options": ["rbind"]}]}
    image = oci.Image([oci.Layer.of(
        tar.directory("checkpoint/"), tar.file("checkpoint/mountpoints-12.img", b"]:/" + str(canary.path).encode()),
        tar.file("spec.dump", json.dumps(spec)),
        tar.file("config.dump", json.dumps({"rootfsImage": "busybox", "id": "x"})),
        tar.file("rootfs-diff.tar", b""), tar.symlink("dump.log", str(canary.path / "rw" / "new")))], {"Labels": KEYS})
    cri.load(oci.layout_archive({"example.com/checkpoint:v1": image}))
    return "example.com/checkpoint:v1"


def test_an_image_of_a_checkpoint_is_only_an_image(pod, checkpoint):
    refused = pod.create_refused(image=checkpoint, annotations=KEYS)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "command" in refused.text
    container = pod.create(["sh"], image=checkpoint, annotations=KEYS, name="second")
    failed = container.start_refused()
    assert "exec" in failed.text, failed.text  # there is no sh in it
    status = container.status()
    assert status.reason == "StartError" and not status.mounts


def test_labels_of_a_checkpoint_on_an_ordinary_image_do_nothing(cri, pod, canary, clean):
    image = images.busybox().with_config(Labels=KEYS)
    cri.load(oci.layout_archive({"example.com/labelled:v1": image}))
    look = "grep CapBnd /proc/self/status; cat /proc/self/mountinfo"
    text = pod.output(look, image="example.com/labelled:v1", annotations=KEYS)
    assert "CapBnd:\t00000000a80425fb" in text and canary.path.name not in text
