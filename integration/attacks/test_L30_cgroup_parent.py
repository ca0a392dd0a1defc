"""L30: a cgroup_parent is a plain path below the root of the cgroups, and leads nowhere else (crun: `..`, slashes).

Seen to fail without SandboxPlan's check; CgroupHierarchy.create, which checks again, answers INTERNAL then."""

import grpc

from lib import cgroups
from lib.stubs import pb


def groups() -> set[str]:
    """Every group of the node by path, in the hierarchies that we make groups in."""
    roots = {cgroups.top(name) for name in ("memory", "cpu", "pids")} | {cgroups.CGROUPS / "unified"}
    return {str(path) for root in roots if root.is_dir() for path in root.glob("*") if path.is_dir()}


PARENTS = [
    "/a/../../x", "../x", "a;b", "/a;b", "/" + "a" * 5000, "/l30" * 33, "/l30//x", "/./l30", "/l30/..", "l30",
    "/l30\nx", "/l30 x", "/" + "b" * 256, "/l30/../\u0301x",
]


def test_a_parent_that_is_no_plain_path(cri):
    before = groups()
    for parent in PARENTS:
        config = cri.pod_config(linux=pb.LinuxPodSandboxConfig(cgroup_parent=parent))
        refused = cri.refused("RunPodSandbox", config=config)
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "cgroup_parent" in refused.text, parent[:20]
        assert len(refused.text) < 1000
    assert not cri.pods()
    assert not {path for path in groups() - before if "l30" in path or path.endswith(("/a", "/x", "/b"))}
