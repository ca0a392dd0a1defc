"""S02: a shim is seen by every pod that has the node's PIDs; there is nothing to be read from it, and nothing in it."""

import pathlib

import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb

PLACES = ["environ", "mem", "maps", "fd", "fdinfo", "root", "cwd", "exe", "task", "stack", "auxv", "ns/mnt"]
# Reads, lists or resolves one place, and says which of them it could.
SPY = """
for place in %s; do
  path=/proc/$0/$place
  case $place in
    fd) for n in $path/*; do readlink $n >/dev/null 2>&1 && echo $n; done;;  # root may count them, no more
    fdinfo) cat $path/* >/dev/null 2>&1 && echo $place;;
    root|cwd) ls $path/ >/dev/null 2>&1 && echo $place;;
    mem) (exec 9<$path) 2>/dev/null && echo $place;;
    exe|ns/*) readlink $path >/dev/null 2>&1 && echo $place;;
    task) cat $path/$0/environ >/dev/null 2>&1 && echo $place;;
    *) dd if=$path of=/dev/null bs=1 count=1 2>/dev/null && echo $place;;
  esac
done
echo done""" % " ".join(PLACES)


@pytest.fixture
def spy(cri):
    """Root with the usual capabilities, among the node's processes."""
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(pid=pb.NODE))
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))
    return pod.run(SLEEPER, linux=security(capabilities=pb.Capability(drop_capabilities=["SYS_PTRACE"])))


def test_root_without_ptrace_reads_nothing_of_a_shim(cri, daemon, spy):
    cri.run_pod().run(SLEEPER)
    shims = daemon.shims()
    assert len(shims) == 2
    for pid in shims:
        answer = spy.execute("sh", "-c", SPY, str(pid))
        assert answer.stdout == b"done\n", (answer.stdout, answer.stderr)
    # and the spy is one that sees what may be seen: its own process, and that the shim is there
    assert f"{shims[0]}\n" in spy.shell("ls -1 /proc")
    assert b"environ\nmem\n" in spy.execute("sh", "-c", SPY, "self").stdout


def test_a_shim_has_no_secret_and_no_more_than_it_needs(cri, daemon):
    """Arguments without anything of the pod's configuration, no environment, its own cgroup, few descriptors."""
    pod = cri.run_pod(annotations={"secret": "s3cret-annotation"})
    container = pod.run(SLEEPER, envs=[pb.KeyValue(key="PASSWORD", value=b"s3cret-variable")])
    (pid,) = daemon.shims()
    process = pathlib.Path(f"/proc/{pid}")
    arguments = process.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
    assert arguments[1:] == [b"--id", pod.id.encode(), b"--dir", str(daemon.state / "pods" / pod.id).encode()]
    assert process.joinpath("environ").read_bytes() == b""
    groups = process.joinpath("cgroup").read_text()
    assert pod.id in groups and container.id not in groups
    held = sorted(str(path.readlink()).split(":[")[0] for path in process.joinpath("fd").iterdir())
    mount = [name for name in held if name in ("/", "none")]  # the pod's detached /dev/shm, where the kernel copies it
    assert len(mount) <= 1
    assert set(held) - set(mount) == {
        "/dev/null", "/proc", container.log_path, "anon_inode", "pid", "pipe", "socket"}, held
    assert process.joinpath("cwd").readlink() == pathlib.Path("/")
