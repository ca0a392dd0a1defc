"""L18: no way to a release_agent of cgroup v1, by which the kernel starts a program of the container's choice as root
of the node (CVE-2022-0492).

Seen to fail with an empty RuntimeDefault filter: `unshare -Urm` succeeds then."""

from lib.cri import SLEEPER
from lib.stubs import pb

DEFAULT = pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)


def attempt(container, script: str):
    return container.execute("sh", "-c", script)


def test_an_ordinary_container_gets_no_namespace_and_no_mount(pod):
    security = pb.LinuxContainerSecurityContext(seccomp=DEFAULT)
    container = pod.run(SLEEPER, linux=pb.LinuxContainerConfig(security_context=security))
    container.shell("mkdir -p /mnt")
    for script in ("unshare -Urm true", "unshare -U true", "unshare -m true",
                   "mount -t cgroup -o memory cgroup /mnt", "mount -t cgroup2 cgroup /mnt"):
        answer = attempt(container, script)
        assert answer.exit_code != 0, script
        assert b"not permitted" in answer.stderr.lower() or b"denied" in answer.stderr.lower(), (script, answer.stderr)
    assert attempt(container, "find / -xdev -name release_agent | grep .").exit_code != 0


def test_without_a_seccomp_profile_the_kernel_still_refuses_the_write(pod):
    """In a user namespace of its own making a process is root, may mount, and is not the node's root."""
    container = pod.run(SLEEPER)
    script = ("mkdir -p /mnt; unshare -Urm sh -c 'for c in memory rdma misc pids; do mount -t cgroup -o $c none /mnt "
              "&& echo /evil > /mnt/release_agent && echo written; done; true'")
    assert b"written" not in attempt(container, script).stdout
