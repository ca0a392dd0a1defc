"""CDI: devices by their qualified names, from specifications in the configured directories."""

import json
import os
import shutil

import grpc
import pytest

from lib import images, oci
from lib.cri import SLEEPER
from lib.stubs import pb

UNIMPLEMENTED, NOT_FOUND, STATE = (
    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
YAML = """cdiVersion: "0.7.0"
kind: vendor.com/net
devices:
- name: eth
  containerEdits:
    env: [NET=eth]
"""


@pytest.fixture
def specs(daemon, tmp_path):
    """Writes specifications; `tmp_path/lib` is what their mounts show."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "driver").write_text("driver\n")

    def write(name: str, content, directory: int = 0) -> None:
        path = daemon.device_specs[directory] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))

    yield write
    shutil.rmtree(daemon.device_specs[0].parent, ignore_errors=True)


def gpu(tmp_path) -> dict:
    return {
        "cdiVersion": "0.7.0", "kind": "vendor.com/gpu",
        "containerEdits": {"env": ["DRIVER=1"], "additionalGids": [4242, 0], "mounts": [
            {"hostPath": str(tmp_path / "lib"), "containerPath": "/driver", "options": ["ro", "nosuid", "rbind"]}]},
        "devices": [
            {"name": "0", "containerEdits": {"env": ["GPU=zero"], "deviceNodes": [
                {"path": "/dev/gpu0", "hostPath": "/dev/zero", "permissions": "r", "fileMode": 0o640, "uid": 7}]}},
            {"name": "all", "containerEdits": {"deviceNodes": [
                {"path": "/dev/gpu-ctl", "hostPath": "/dev/null"},
                {"path": "/dev/shut", "type": "c", "major": 240, "minor": 7, "permissions": "none"}]}},
        ]}


def named(*names: str) -> list:
    return [pb.CDIDevice(name=name) for name in names]


def test_all_that_a_device_brings(pod, specs, tmp_path):
    specs("gpu.json", gpu(tmp_path))
    specs("net.yaml", YAML, directory=1)
    container = pod.run(SLEEPER, envs=[pb.KeyValue(key="GPU", value=b"asked")], CDI_devices=named(
        "vendor.com/gpu=0", "vendor.com/gpu=all", "vendor.com/net=eth", "vendor.com/gpu=0"))
    script = ("cat /driver/driver; echo $DRIVER $GPU $NET; id -G; "
              "stat -c '%n %t:%T %a %u:%g' /dev/gpu0 /dev/gpu-ctl /dev/shut")
    assert container.execute("/bin/sh", "-c", script).stdout.decode().splitlines() == [
        "driver", "1 zero eth", "0 4242", "/dev/gpu0 1:5 640 7:0", "/dev/gpu-ctl 1:3 666 0:0", "/dev/shut f0:7 666 0:0"]
    answer = container.execute("/bin/busybox", "touch", "/driver/x")
    assert answer.exit_code == 1 and b"ead-only" in answer.stderr
    assert b"not permitted" in container.execute("/bin/busybox", "dd", "if=/dev/shut", "of=/dev/null", "count=0").stderr
    status = container.status()
    assert not status.mounts and list(status.user.linux.supplemental_groups) == [0, 4242]


def test_by_annotation_of_the_container_alone(cri, clean, specs, tmp_path):
    """V7, D13: device plugins' annotation counts; what a pod, a mount or an image says under that name does not."""
    specs("gpu.json", gpu(tmp_path))
    key = "cdi.k8s.io/vendor.com_gpu"
    labelled = images.busybox().with_config(Labels={key: "vendor.com/gpu=0"}, Env=[f"{key}=vendor.com/gpu=0"])
    cri.load(oci.layout_archive({"example.com/labelled:v1": labelled}))
    pod = cri.run_pod(annotations={key: "vendor.com/gpu=0"}, labels={"cdi.k8s.io/x": "vendor.com/gpu=0"})
    config = pod.container_config(
        SLEEPER, image="example.com/labelled:v1", name="plain", labels={key: "vendor.com/gpu=0"},
        annotations=dict.fromkeys(["cdi.k8s.io", "x.cdi.k8s.io/y", "CDI.k8s.io/y"], "vendor.com/gpu=0"))
    config.image.annotations[key] = "vendor.com/gpu=0"
    plain = pod.create(config=config).start()
    assert plain.shell("ls /dev | grep -c gpu || true; echo $DRIVER") == "0\n\n"
    asked = pod.run(SLEEPER, name="asked", annotations={key: "vendor.com/gpu=all,vendor.com/gpu=0"},
                    CDI_devices=named("vendor.com/gpu=0"))
    assert asked.execute("/bin/busybox", "ls", "/dev/gpu0", "/dev/gpu-ctl").exit_code == 0
    refused = pod.create_refused(SLEEPER, name="bad", annotations={key: "vendor.com/gpu=all, vendor.com/gpu=0"})
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and key in refused.text


def test_files_that_change_count_at_once(pod, specs):
    assert pod.create_refused(SLEEPER, CDI_devices=named("v/c=d")).code == NOT_FOUND
    specs("v.json", {"cdiVersion": "0.3.0", "kind": "v/c", "devices": [
        {"name": "d", "containerEdits": {"env": ["FROM=static"]}}]})
    assert pod.output("echo $FROM", CDI_devices=named("v/c=d")) == "static\n"
    specs("v.json", {"cdiVersion": "0.3.0", "kind": "v/c", "devices": [
        {"name": "d", "containerEdits": {"env": ["FROM=dynamic"]}}]}, directory=1)
    assert pod.output("echo $FROM", CDI_devices=named("v/c=d")) == "dynamic\n"


@pytest.mark.parametrize("names, code, words", [
    (["v/c=none"], NOT_FOUND, ["CDI_devices[0].name", "v/c=none"]),
    (["v/c=d", "w/c=d"], NOT_FOUND, ["CDI_devices[1].name", "w/c=d", "broken.json"]),
    (["no-name"], grpc.StatusCode.INVALID_ARGUMENT, ["CDI_devices[0].name", "no-name"]),
    ([""], grpc.StatusCode.INVALID_ARGUMENT, ["CDI_devices[0].name"]),
    (["v/c=twice"], STATE, ["v/c=twice", "one.json", "two.json"]),
    (["v/c=hooks"], UNIMPLEMENTED, ["v/c=hooks", "containerEdits.hooks", "one.json"]),
    (["v/c=net"], UNIMPLEMENTED, ["v/c=net", "containerEdits.netDevices"]),
    (["v/c=rdt"], UNIMPLEMENTED, ["v/c=rdt", "containerEdits.intelRdt"]),
    (["v/c=node"], STATE, ["/dev/nothing-here"]),
    (["v/c=option"], UNIMPLEMENTED, ["/inside", "remount"]),
    (["v/c=proc"], grpc.StatusCode.INVALID_ARGUMENT, ["/proc/sys"]),
])
def test_refusals_name_the_device(pod, specs, names, code, words):
    def one(name, **more):
        return {"name": name, "containerEdits": more}

    specs("one.json", {"cdiVersion": "1.1.0", "kind": "v/c", "devices": [
        one("d", env=["A=1"]), one("twice", env=["A=1"]),
        one("hooks", env=["A=1"], hooks=[{"hookName": "createContainer", "path": "/bin/true"}]),
        one("net", netDevices=[{"hostInterfaceName": "a", "name": "b"}]), one("rdt", intelRdt={"closID": "x"}),
        one("node", deviceNodes=[{"path": "/dev/nothing-here"}]),
        one("option", mounts=[{"hostPath": "/tmp", "containerPath": "/inside", "options": ["remount"]}]),
        one("proc", mounts=[{"hostPath": "/tmp", "containerPath": "/proc/sys"}])]})
    specs("two.json", {"cdiVersion": "1.1.0", "kind": "v/c", "devices": [one("twice", env=["A=2"])]})
    specs("broken.json", {"cdiVersion": "1.1.0", "kind": "w/c", "devices": [one("d", env=["A=1"], surprise=1)]})
    refused = pod.create_refused(SLEEPER, CDI_devices=named(*names))
    assert refused.code == code and not [word for word in words if word not in refused.text], refused


def test_a_missing_source_stops_the_start(pod, specs, tmp_path):
    specs("v.json", {"cdiVersion": "0.7.0", "kind": "v/c", "devices": [{"name": "d", "containerEdits": {"mounts": [
        {"hostPath": str(tmp_path / "gone"), "containerPath": "/x", "options": ["bind"]}]}}]})
    container = pod.create(SLEEPER, CDI_devices=named("v/c=d"))
    assert str(tmp_path / "gone") in container.start_refused().text
    assert not os.path.exists(tmp_path / "gone")
