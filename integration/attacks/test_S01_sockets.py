"""S01: nobody but root on the node may speak to a shim (CVE-2020-15257).

That the shim also looks at who connects is `test_only_root_may_ask` of the shim's own tests.
"""

import stat

from lib.cri import SLEEPER
from lib.stubs import pb


def host_network(cri, **options):
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(network=pb.NODE, **options))
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))


def test_no_socket_of_ours_is_reachable_from_the_nodes_network(cri, daemon):
    """Root of a host network pod sees them by name; none is abstract, and no path leads there from its root."""
    container = host_network(cri).run(SLEEPER)
    table = container.shell("cat /proc/net/unix")
    names = {line.split()[7] for line in table.splitlines()[1:] if len(line.split()) > 7}
    ours = {name for name in names if str(daemon.base) in name}
    assert str(daemon.socket) in ours and any(name.endswith("/shim.sock") for name in ours), names
    assert not [name for name in names if name.startswith("@") and "swiftlet" in name]
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
