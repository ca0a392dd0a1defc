"""S02: a shim is seen by every pod that has the node's PIDs; there is nothing to be read from it, and nothing in it.

Seen to fail without PR_SET_DUMPABLE in the shim, with SYS_PTRACE among what every container has, and with a variable in
the shim's environment."""

import pathlib

from lib import wait
from lib.census import read_link
from lib.cri import SLEEPER, security
from lib.stubs import pb

NOT = ["SYS_PTRACE", "PERFMON", "SYS_ADMIN"]
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


def test_root_without_ptrace_reads_nothing_of_a_shim(cri, daemon):
    """Root with the usual capabilities, and with all others, among the node's processes; and the spy is one that sees
    what there is to be seen when it may. PERFMON, which SYS_ADMIN implies, reads environ and maps since Linux 6.15."""
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(pid=pb.NODE))
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))

    def spy(name: str, add: list[str], drop: list[str]):
        capabilities = pb.Capability(add_capabilities=add, drop_capabilities=drop)
        return pod.run(SLEEPER, name=name, linux=security(capabilities=capabilities))

    cri.run_pod().run(SLEEPER)
    usual, most, tracer = spy("usual", [], []), spy("most", ["ALL"], NOT), spy("tracer", ["SYS_PTRACE"], [])
    processes = [daemon.pid, *daemon.shims()]
    assert len(processes) == 3
    for pid in processes:
        for container in (usual, most):
            answer = container.execute("sh", "-c", SPY, str(pid))
            assert answer.stdout == b"done\n", (answer.stdout, answer.stderr)
        seen = tracer.execute("sh", "-c", SPY, str(pid)).stdout.decode().split()
        assert {"environ", "mem", "maps", f"/proc/{pid}/fd/0", "root", "cwd", "exe", "ns/mnt"} <= set(seen), seen


def test_that_it_is_not_dumpable_is_enough(make_daemon, archives):
    """Above, the kernel keeps root out for want of capabilities that the shim has. Where the node has no SYS_PTRACE to
    give, a container may have all that the shim has, and only that it is not dumpable is in the way. PERFMON, which
    SYS_ADMIN implies, shows what it may show."""
    daemon = make_daemon(start=False)
    enter, program = daemon.command()[:3], daemon.command()[3:]
    daemon.command = lambda: [*enter, "setpriv", "--bounding-set=-sys_ptrace", *program]
    daemon.start().prepare(archives)
    context = pb.LinuxSandboxSecurityContext(namespace_options=pb.NamespaceOption(pid=pb.NODE))
    pod = daemon.client.run_pod(
        linux=pb.LinuxPodSandboxConfig(cgroup_parent=daemon.client.cgroup_parent, security_context=context))
    container = pod.run(SLEEPER, linux=security(capabilities=pb.Capability(add_capabilities=["ALL"])))

    def seen(pid: int) -> set[str]:
        return {line.removeprefix(f"/proc/{pid}/") for line in
                container.execute("sh", "-c", SPY, str(pid)).stdout.decode().split()}

    (shim,) = daemon.shims()
    assert seen(shim) <= {"done", "environ", "maps", "auxv", "task"}
    assert {"mem", "fd/0", "root", "cwd", "exe", "ns/mnt"} <= seen(container.info()["pid"]), "the spy sees nothing"


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
    usual = {"/dev/null", "/proc", container.log_path, "anon_inode", "pid", "pipe", "socket"}

    def held() -> list[str]:
        targets = [read_link(str(path)) for path in process.joinpath("fd").iterdir()]
        return sorted(target.split(":[")[0] for target in targets if target)

    # Once it is through with what it has answered; the pod's detached /dev/shm, where the kernel copies it.
    wait.until(lambda: set(held()) - {"/", "none"} == usual, "no other descriptors", 60)
    assert len([name for name in held() if name in ("/", "none")]) <= 1
    assert process.joinpath("cwd").readlink() == pathlib.Path("/")
