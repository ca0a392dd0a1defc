"""Localhost seccomp profiles: files of the node's, for containers, commands and pods; and what is refused."""

import json
import os
import socket

import grpc
import pytest

from lib import prober
from lib.cri import SLEEPER, security
from lib.stubs import pb

MODE = "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status"
ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"


@pytest.fixture
def profile(tmp_path):
    """Writes a profile; gives its reference."""
    def write(content, name: str = "p.json") -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def localhost(reference: str):
    return pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=reference)


def denying(*names: str, **more) -> dict:
    return {"defaultAction": ALLOW, "syscalls": [{"names": list(names), "action": ERRNO, **more}]}


@pytest.mark.parametrize("form", ["structured", "prefixed", "deprecated"])
def test_chmod_is_forbidden(pod, profile, form):
    """critest's: chmod fails, the rest goes on; of the container's process and of commands."""
    path = profile(denying("chmod", "fchmod", "fchmodat", "fchmodat2"))
    fields = {"structured": dict(seccomp=localhost(path)), "prefixed": dict(seccomp=localhost("localhost/" + path)),
              "deprecated": dict(seccomp_profile_path="localhost/" + path)}[form]
    container = pod.run(SLEEPER, linux=security(**fields))
    answer = container.execute("chmod", "400", "/bin/busybox")
    assert answer.exit_code == 1 and b"Operation not permitted" in answer.stderr
    assert container.shell(MODE).splitlines()[-1] == "Seccomp:\t2"
    answer = pod.output("chmod 400 /etc/passwd || echo refused; echo x > /tmp/x; cat /tmp/x", linux=security(**fields))
    assert answer.splitlines()[-2:] == ["refused", "x"], answer


def test_sethostname_is_forbidden_though_the_capability_is_there(pod, profile):
    linux = security(seccomp=localhost(profile(denying("sethostname"))),
                     capabilities=pb.Capability(add_capabilities=["SYS_ADMIN"]))
    container = pod.run(SLEEPER, linux=linux)
    assert b"not permitted" in container.execute("hostname", "other").stderr
    with_it = security(capabilities=pb.Capability(add_capabilities=["SYS_ADMIN"]))
    control = pod.run(SLEEPER, name="control", linux=with_it)
    control.shell("hostname other")


def test_actions_and_errno_values_are_the_kernels(pod, profile):
    path = profile({"defaultAction": ALLOW, "syscalls": [
        {"names": ["mount"], "action": ERRNO, "errnoRet": 99}, {"names": ["swapon"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["swapoff"], "action": "SCMP_ACT_TRAP"}, {"names": ["reboot"], "action": "SCMP_ACT_TRACE"},
        {"names": ["acct"], "action": "SCMP_ACT_LOG"}, {"names": ["no_such_call_on_this_machine"], "action": ERRNO},
        {"names": ["socket"], "action": ERRNO, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]})
    calls = prober.by_create(pod, linux=security(seccomp=localhost(path)))["calls"]
    assert {name: calls[name] for name in ("mount", "swapon", "swapoff", "reboot", "socket unix", "socket inet")} == {
        "mount": "EADDRNOTAVAIL", "swapon": "killed by SYS", "swapoff": "killed by SYS", "reboot": "ENOSYS",
        "socket unix": "EPERM", "socket inet": "ok"}


@pytest.mark.parametrize("new_privileges", [True, False])
@pytest.mark.parametrize("user", [0, 1000])
def test_a_list_of_what_a_program_needs_is_enough(pod, profile, new_privileges, user):
    """The profile lacks capset, prctl and all else that a start does: it is loaded last. And no CAP_SYS_ADMIN is left,
    which loading it without no_new_privs needs."""
    needed = ("execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink getrandom mprotect getuid "
              "exit_group newfstatat fstat write read openat close ioctl getpid getppid rt_sigaction rt_sigprocmask "
              "mmap munmap uname fcntl dup2 writev sendfile lseek getcwd stat geteuid getgid getegid wait4 vfork clone "
              "poll readv fadvise64").split()
    path = profile({"defaultAction": ERRNO, "syscalls": [{"names": needed, "action": ALLOW}]})
    linux = security(seccomp=localhost(path), run_as_user=pb.Int64Value(value=user), no_new_privs=not new_privileges)
    text = pod.output(["grep", "-E", "^(Seccomp|NoNewPrivs|CapEff|CapPrm|CapBnd):", "/proc/self/status"], linux=linux)
    effective = "00000000a80425fb" if user == 0 else "0" * 16
    assert text.split() == ["CapPrm:", effective, "CapEff:", effective, "CapBnd:", "00000000a80425fb",
                            "NoNewPrivs:", str(int(not new_privileges)), "Seccomp:", "2"]


def test_conditions_go_by_the_containers_capabilities(pod, profile):
    path = profile({"defaultAction": ALLOW, "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}], "syscalls": [
            {"names": ["umask"], "action": ERRNO, "excludes": {"caps": ["CAP_SYS_TIME"]}}]})
    for added in ([], ["SYS_TIME"]):
        linux = security(seccomp=localhost(path), capabilities=pb.Capability(add_capabilities=added))
        # A refused umask is no mask: the shell prints something else.
        assert (pod.output("umask", linux=linux) == "0022\n") == bool(added), added


def test_flags_are_the_loaders(pod, profile):
    path = profile({**denying("chmod"), "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                                  "SECCOMP_FILTER_FLAG_TSYNC"]})
    assert "Seccomp:\t2" in pod.output(MODE, linux=security(seccomp=localhost(path)))


def test_the_container_keeps_the_profile_that_it_was_created_with(pod, profile):
    path = profile(denying("chmod", "fchmod", "fchmodat", "fchmodat2"))
    container = pod.create(SLEEPER, linux=security(seccomp=localhost(path)))
    os.remove(path)
    container.start()
    assert container.execute("chmod", "400", "/bin/busybox").exit_code == 1
    refused = pod.create_refused(SLEEPER, name="second", linux=security(seccomp=localhost(path)))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_pod_with_a_profile(cri, profile):
    context = pb.LinuxSandboxSecurityContext(seccomp=localhost(profile(denying("chmod"))))
    pod = cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context))
    assert prober.process_facts(pod.info()["pid"], "Seccomp") == "2"
    old = pb.LinuxSandboxSecurityContext(seccomp_profile_path="localhost/no/such")
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(
        linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=old)))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "config.linux.security_context" in refused.text
    old.seccomp_profile_path = "localhost//no/such"
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(
        linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=old)))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "/no/such" in refused.text
    assert len(cri.pods()) == 1


FIELD = "linux.security_context.seccomp.localhost_ref"


@pytest.mark.parametrize("content, word", [
    ("", "JSON"), ("{", "JSON"), ("[" * 100_000, "JSON"), ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
    ({**denying("chmod"), "listenerPath": "/run/x"}, "listenerPath"),
    (denying("chmod", args=[{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]), "syscalls[0].args[0].index"),
    ({"defaultAction": ALLOW, "sycalls": []}, "sycalls"), (" " * (1 << 20) + "{}", "1048576"),
], ids=["empty", "cut", "nested", "notify", "listener", "argument", "misspelt", "large"])
def test_a_profile_that_cannot_be_applied_is_refused_at_creation(pod, profile, content, word):
    path = profile(content)
    refused = pod.create_refused(["true"], linux=security(seccomp=localhost(path)))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION, refused
    assert refused.text.startswith(FIELD) and path in refused.text and word in refused.text, refused.text
    assert len(refused.text) < 1000


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "socket", "device", "magic link", "loop", "endless"])
def test_what_is_no_regular_file_is_refused_and_nothing_hangs(pod, tmp_path, kind):
    path = tmp_path / "p"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "loop":
        path.symlink_to(path)
    reference = {"device": "/dev/zero", "magic link": "/proc/self/fd/0", "endless": "/proc/kmsg"}.get(kind, str(path))
    refused = pod.create_refused(["true"], linux=security(seccomp=localhost(reference)))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION, refused
    assert refused.text.startswith(FIELD) and reference in refused.text, refused.text


def test_references_that_are_none(pod):
    for reference in ("", "p.json", "localhost/p.json", "../p"):
        refused = pod.create_refused(["true"], linux=security(seccomp=localhost(reference)))
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and refused.text.startswith(FIELD), refused.text
    other = pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined, localhost_ref="/x")
    refused = pod.create_refused(["true"], linux=security(seccomp=other))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and refused.text.startswith(FIELD)
    refused = pod.create_refused(["true"], linux=security(seccomp_profile_path="strange"))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "seccomp_profile_path" in refused.text


def test_a_profile_that_forbids_exec_fails_the_start(pod, profile):
    container = pod.create(["true"], linux=security(seccomp=localhost(profile(denying("execve", "execveat")))))
    refused = container.start_refused()
    assert "exec" in refused.text and "EPERM" in refused.text, refused.text


@pytest.mark.parametrize("fields, field", [
    (dict(apparmor=pb.SecurityProfile()), "apparmor"),
    (dict(apparmor=pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="x")), "apparmor"),
    (dict(apparmor_profile="runtime/default"), "apparmor_profile"),
    (dict(apparmor_profile="localhost/x"), "apparmor_profile"),
    (dict(selinux_options=pb.SELinuxOption(type="spc_t")), "selinux_options.type"),
    (dict(selinux_options=pb.SELinuxOption(level="s0:c1,c2")), "selinux_options.level"),
])
def test_security_modules_are_refused_by_field(cri, pod, fields, field):
    codes = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED)  # where the kernel has none; has one
    refused = pod.create_refused(["true"], linux=security(**fields))
    assert refused.code in codes and refused.text.startswith(f"linux.security_context.{field}:"), refused.text
    if "apparmor_profile" not in fields:
        context = pb.LinuxSandboxSecurityContext(**fields)
        refused = cri.refused("RunPodSandbox", config=cri.pod_config(
            linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent, security_context=context)))
        assert refused.code in codes, refused
        assert refused.text.startswith(f"config.linux.security_context.{field}:"), refused.text


def test_nothing_asked_of_security_modules_is_fine(pod):
    unconfined = pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)
    linux = security(apparmor=unconfined, apparmor_profile="unconfined", selinux_options=pb.SELinuxOption())
    assert pod.output("echo fine", linux=linux) == "fine\n"
