"""D12: labels and annotations of an image are its own affair: they reach no record of ours and start nothing
(CVE-2026-53488)."""

from lib import images, oci, records
from lib.annotations import KEYS
from lib.cri import SLEEPER
from lib.stubs import pb


def test_absent_from_metadata_and_without_effect(cri, daemon, pod, canary, clean):
    labels = {key: value.replace("/canary", str(canary.path / "rw" / "run")) for key, value in KEYS.items()}
    # and what our own records are called
    labels |= {"state": "running", "isPrivileged": "true", "startRequest": "AAAA", "usesDefaultSeccomp": "false"}
    image = images.busybox().with_config(Labels=labels)
    image.config["history"] = [{"created_by": "x", "comment": "containerd.io/restart.loguri"}]
    cri.load(oci.layout_archive({"example.com/labels:v1": image}))
    container = pod.run(SLEEPER, image="example.com/labels:v1")
    plain = pod.run(SLEEPER, name="plain")
    status = container.status()
    assert not status.labels and not status.annotations and not pod.status().annotations
    listed = cri.call("ListContainers", filter=pb.ContainerFilter(id=container.id)).containers[0]
    assert not listed.labels and not listed.annotations
    record = records.container(daemon, container.id)
    assert not [key for key in labels if key.encode() in record["config"] + record["startRequest"]]
    assert record["usesDefaultSeccomp"] is False and record["isPrivileged"] is False
    look = "grep -E '^(Cap|Seccomp|NoNew|Uid|Groups)' /proc/self/status; grep -c . /proc/self/mountinfo; env | sort"
    assert container.shell(look) == plain.shell(look)
