"""S01: nobody but root on the node may speak to a shim (CVE-2020-15257).

That the shim also looks at who connects is `test_only_root_may_ask` of the shim's own tests. Seen to fail with a shim's
socket in the abstract namespace, with mode 0755, and with a shim that answers anybody.
"""

import contextlib
import pathlib
import stat

from lib.cri import SLEEPER
from lib.stubs import pb


def host_network(cri, **options):
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(network=pb.NODE, **options))
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))


def sockets(pid: int) -> set[int]:
    """The inodes of a process's sockets."""
    targets = []
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(link.readlink()))
    return {int(target[8:-1]) for target in targets if target.startswith("socket:[")}


def test_no_socket_of_ours_is_reachable_from_the_nodes_network(cri, daemon):
    """Root of a host network pod sees them by name; none is abstract, and no path leads there from its root."""
    container = host_network(cri).run(SLEEPER)
    lines = [line.split() for line in container.shell("cat /proc/net/unix").splitlines()[1:]]
    names = {int(words[6]): words[7] for words in lines if len(words) > 7}
    (shim,) = daemon.shims()
    ours = {names[inode] for pid in (daemon.pid, shim) for inode in sockets(pid) if inode in names}
    assert str(daemon.socket) in ours and any("/shim.sock" in name for name in ours), (ours, names)
    assert not [name for name in ours if name.startswith("@")], ours
    for name in ours:
        assert container.execute("test", "-e", name).exit_code == 1
        assert container.execute("timeout", "2", "nc", f"local:{name}").exit_code != 0


def test_sockets_and_their_directories_are_for_root_alone(cri, daemon):
    pod = cri.run_pod()
    path = daemon.state / "pods" / pod.id / "shim.sock"
    info = path.stat()
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600 and info.st_uid == 0
    for directory in (path.parent, daemon.state):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory
