"""L34: a process by exec has the confinement of the container's first one."""

import pytest

from lib import kubelet, prober
from lib.cri import SLEEPER
from lib.stubs import pb

KINDS = {
    "ordinary": {},
    "no_new_privs": dict(no_new_privs=True),
    "user": dict(run_as_user=pb.Int64Value(value=1000), run_as_group=pb.Int64Value(value=1000),
                 supplemental_groups=[1234], no_new_privs=True),
    "little": dict(capabilities=pb.Capability(drop_capabilities=["ALL"]), readonly_rootfs=True),
    "much": dict(capabilities=pb.Capability(add_capabilities=["SYS_ADMIN", "SYS_PTRACE"]), masked_paths=[]),
    "ambient": dict(run_as_user=pb.Int64Value(value=1000),
                    capabilities=pb.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_reports_are_equal(daemon, pod, kind):
    linux = kubelet.ordinary(**KINDS[kind])
    linux.resources.oom_score_adj = 500
    created = prober.normalised(prober.by_create(pod, linux=linux, working_dir="/tmp"), pod, daemon)
    container = pod.run(SLEEPER, mounts=[prober.mount()], linux=linux, working_dir="/tmp")
    executed = prober.normalised(prober.by_exec(container), pod, daemon)
    assert created["process"]["cwd"] == "/tmp" and created["process"]["oom_score_adj"] == "500"
    assert prober.differences(created, executed) == []
