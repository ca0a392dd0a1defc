"""L34: a process by exec has the confinement of the container's first one."""

import json

import pytest

from lib import kubelet, prober
from lib.cri import SLEEPER
from lib.stubs import pb
from test_userns import users

KINDS = {
    "ordinary": {},
    "no_new_privs": dict(no_new_privs=True),
    "user": dict(run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=1000),
                 supplemental_groups=[1234], no_new_privs=True),
    "little": dict(capabilities=pb.Capability(drop_capabilities=["ALL"]), readonly_rootfs=True),
    "much": dict(capabilities=pb.Capability(add_capabilities=["SYS_ADMIN", "SYS_PTRACE"]), masked_paths=[]),
    "ambient": dict(run_as_user=pb.Int64Value(value=1000),
                    capabilities=pb.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])),
    "unconfined": dict(seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)),
    "localhost": dict(seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost)),
    "privileged": dict(privileged=True),
    "in a user namespace": dict(no_new_privs=True),
    "with the pod's processes": {},
    "with the node's processes": {},
    "with another's processes": {},
}
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "archMap": [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [{"names": ["mseal", "syslog", "personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 37}]}


def options(kind: str, users=None):
    pid = {"with the pod's processes": pb.POD, "with the node's processes": pb.NODE}.get(kind, pb.CONTAINER)
    return pb.NamespaceOption(pid=pid, userns_options=users)


def run_pod(cri, kind: str):
    context = pb.LinuxSandboxSecurityContext(
        privileged=kind == "privileged", namespace_options=options(kind, users() if "user" in kind else None))
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))


@pytest.mark.parametrize("kind", KINDS)
def test_the_reports_are_equal(daemon, cri, tmp_path, kind):
    pod = run_pod(cri, kind)
    linux = kubelet.ordinary(**KINDS[kind])
    if kind == "localhost":
        (tmp_path / "profile.json").write_text(json.dumps(PROFILE))
        linux.security_context.seccomp.localhost_ref = str(tmp_path / "profile.json")
    if kind == "with another's processes":
        target = pod.run(SLEEPER, name="target")
        linux.security_context.namespace_options.CopyFrom(
            pb.NamespaceOption(pid=pb.TARGET, target_id=target.id))
    linux.resources.oom_score_adj = 500
    created = prober.normalised(prober.by_create(pod, linux=linux, working_dir="/tmp"), pod, daemon)
    container = pod.run(SLEEPER, mounts=[prober.mount()], linux=linux, working_dir="/tmp")
    executed = prober.normalised(prober.by_exec(container), pod, daemon)
    assert created["process"]["cwd"] == "/tmp" and created["process"]["oom_score_adj"] == "500"
    assert prober.differences(created, executed) == []
