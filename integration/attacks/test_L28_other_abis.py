"""L28: a 32-bit program's calls are judged like a 64-bit one's, and x32's as well."""

import errno

import pytest

from lib import binaries, kubelet
from lib.stubs import pb

DENIED = ["socketcall socket", "socket alg", "socket vsock", "socket rxrpc", "keyctl", "unshare", "clone user", "mount",
          "bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "vm86", "stime"]


def answers(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (line.rpartition(" ") for line in text.splitlines())}


PROGRAMS = {"/i386": "-m32", "/x32": "-mx32", "/int80": "-DINT80"}


def command(program: str) -> dict:
    return dict(command=[program], mounts=[binaries.other_abi(program, PROGRAMS[program])])


@pytest.mark.parametrize("program", ["/i386", "/int80"])
def test_denied_through_the_32_bit_entry(pod, program):
    found = answers(pod.output(**command(program), linux=kubelet.ordinary()))
    assert found["getuid"] == 0 and found["socket unix"] >= 0 and found["call 600"] == -errno.ENOSYS
    assert found["socketcall bind"] == -errno.EFAULT  # through the filter, as far as the null pointer
    assert {call: found[call] for call in DENIED} == dict.fromkeys(DENIED, -errno.EPERM)
    unfiltered = kubelet.ordinary(seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined))
    control = answers(pod.output(**command(program), linux=unfiltered))
    # Not bpf: it comes after unshare, and from a user namespace Linux 6.1 refuses it by itself.
    assert control["keyctl"] > 0 and control["unshare"] == 0
    assert control["mount"] == control["socketcall socket"] == -errno.EFAULT


def test_x32(pod):
    """A kernel without x32 does not run the program; its numbers from a 64-bit one: test_L27, test_prober."""
    container = pod.create(**command("/x32"), linux=kubelet.ordinary())
    try:
        container.start()
    except Exception as error:
        assert "ENOEXEC" in str(error) or "Exec format error" in str(error) or "errno 8" in str(error), error
        return
    assert container.wait().exit_code == 0
    found = answers(container.log_text())
    assert {found[call] for call in ("socket alg", "keyctl", "mount")} == {-errno.EPERM}
    assert found["getuid"] == 0 and found["call 600"] == -errno.ENOSYS


@pytest.mark.parametrize("program", ["/i386", "/int80"])
def test_a_localhost_profile_without_the_architecture_kills(pod, tmp_path, program):
    (tmp_path / "p.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    profile = pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=str(tmp_path / "p.json"))
    container = pod.run(**command(program), linux=kubelet.ordinary(seccomp=profile))
    assert container.wait().exit_code == 128 + 31  # SIGSYS
    assert container.log_text() == ""
