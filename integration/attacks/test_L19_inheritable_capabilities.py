"""L19: no capability is inheritable or ambient, so that a file marked for inheritance gives nothing
(CVE-2022-29162)."""

import json
import struct

import pytest

from lib import binaries, kubelet, oci, tar
from lib.cri import SLEEPER, security
from lib.stubs import pb
from test_userns import run_pod

NET_RAW, SYS_ADMIN, NET_BIND_SERVICE = 13, 21, 10
EMPTY = "0" * 16


def marked(name: str, permitted: int = 0, inheritable: int = 0, effective: bool = True) -> tar.Entry:
    """The prober with file capabilities (struct vfs_cap_data of linux/capability.h, revision 2)."""
    attribute = struct.pack("<5I", 0x02000000 | effective, permitted, inheritable, 0, 0)
    return tar.file(name, binaries.prober(), mode=0o755, xattrs={"security.capability": attribute})


@pytest.fixture
def name(image) -> str:
    return image(oci.Layer.of(
        tar.file("prober", binaries.prober(), mode=0o755), marked("raw-ei", inheritable=1 << NET_RAW),
        marked("raw-ep", permitted=1 << NET_RAW), marked("admin-p", permitted=1 << SYS_ADMIN, effective=False)))


def status(text) -> dict:
    return json.loads(text)["status"]


def run(pod, program: str, image: str, **fields) -> dict:
    return status(pod.output([program], image=image, linux=kubelet.ordinary(**fields)))


def test_nothing_is_inheritable_or_ambient_by_create_and_by_exec(cri, pod, name):
    user = {"run_as_user": pb.Int64Value(value=1000)}
    for fields in ({}, user, {"no_new_privs": True}):
        found = run(pod, "/prober", name, **fields)
        assert (found["CapInh"], found["CapAmb"]) == (EMPTY, EMPTY), fields
        container = pod.run(SLEEPER, image=name, name=f"c{len(str(fields))}", linux=kubelet.ordinary(**fields))
        found = status(container.execute("/prober").stdout)
        assert (found["CapInh"], found["CapAmb"]) == (EMPTY, EMPTY), fields
    context = pb.LinuxSandboxSecurityContext(privileged=True)
    privileged = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))
    container = privileged.run(SLEEPER, image=name, linux=security(privileged=True))
    for found in (status(container.execute("/prober").stdout),
                  run(privileged, "/prober", name, seccomp=None, privileged=True)):
        assert (found["CapInh"], found["CapAmb"]) == (EMPTY, EMPTY)
        assert int(found["CapEff"], 16) >> SYS_ADMIN & 1


def test_in_a_user_namespace(cri, name):
    """The sets are empty there as well, and a file marked for inheritance gives nothing."""
    pod = run_pod(cri)
    for fields in ({}, {"run_as_user": pb.Int64Value(value=1000)}):
        container = pod.run(SLEEPER, image=name, name=f"c{len(fields)}", linux=kubelet.ordinary(**fields))
        for found in (run(pod, "/prober", name, **fields), status(container.execute("/prober").stdout)):
            assert (found["CapInh"], found["CapAmb"]) == (EMPTY, EMPTY), fields
    assert status(container.execute("/raw-ei").stdout)["CapPrm"] == EMPTY


def test_a_file_marked_for_inheritance_gives_nothing(pod, name):
    user = {"run_as_user": pb.Int64Value(value=1000)}
    assert run(pod, "/raw-ei", name, **user)["CapPrm"] == EMPTY
    running = pod.run(SLEEPER, image=name, name="running", linux=kubelet.ordinary(**user))
    assert status(running.execute("/raw-ei").stdout)["CapPrm"] == EMPTY
    # The control: what the bounding set has, a file can give, unless no_new_privs is set.
    assert int(run(pod, "/raw-ep", name, **user)["CapPrm"], 16) == 1 << NET_RAW
    assert run(pod, "/raw-ep", name, **user, no_new_privs=True)["CapPrm"] == EMPTY
    # Outside of the bounding set the kernel does not even run it.
    dropped = kubelet.ordinary(**user, capabilities=pb.Capability(drop_capabilities=["ALL"]))
    assert "EPERM" in pod.create(["/raw-ep"], image=name, linux=dropped).start_refused().text


def test_a_file_gives_nothing_beyond_the_bounding_set(pod, name):
    assert run(pod, "/admin-p", name, run_as_user=pb.Int64Value(value=1000))["CapPrm"] == EMPTY


def test_ambient_capabilities_that_were_asked_for(pod, name):
    """Of an ordinary user, who without them would have none."""
    asked = pb.Capability(drop_capabilities=["ALL"], add_ambient_capabilities=["NET_BIND_SERVICE"])
    for new_privileges in (False, True):
        found = run(pod, "/prober", name, run_as_user=pb.Int64Value(value=1000), capabilities=asked,
                    no_new_privs=not new_privileges)
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[key], 16) == 1 << NET_BIND_SERVICE, (key, found)
