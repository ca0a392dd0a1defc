"""L27: RuntimeDefault refuses AF_ALG, AF_VSOCK and AF_RXRPC, and the parts of the kernel with a history
(CVE-2026-31431). The whole table: Tests/Golden/runtime-default.txt, held by GoldenProfileTests."""

from lib import kubelet, prober
from lib.stubs import pb

REFUSED = ["socket alg", "socket vsock", "socket rxrpc", "socket alg with high bits", "socket 255", "io_uring_setup",
           "io_uring_enter", "io_uring_register", "userfaultfd", "bpf", "keyctl", "keyctl join", "add_key",
           "request_key", "perf_event_open", "open_by_handle_at", "unshare user", "clone user", "mount", "setns",
           "kexec_load", "init_module", "x32 keyctl", "x32 socket alg", "x32 mount"]


def test_by_create_and_by_exec(pod):
    container = pod.run(["sleep", "1000"], mounts=[prober.mount()], linux=kubelet.ordinary())
    for report in (prober.by_create(pod, linux=kubelet.ordinary()), prober.by_exec(container)):
        calls = report["calls"]
        assert {call: calls[call] for call in REFUSED} == dict.fromkeys(REFUSED, "EPERM")
        assert calls["call 600"] == calls["clone3"] == "ENOSYS"
        assert calls["socket unix"] == calls["socket inet"] == calls["clone"] == "ok"


def test_capabilities_do_not_open_them(pod):
    """CAP_SYS_ADMIN opens mounts and namespaces, and not the families, io_uring or keyrings."""
    linux = kubelet.ordinary(capabilities=pb.Capability(add_capabilities=["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]))
    calls = prober.by_create(pod, linux=linux)["calls"]
    still = [call for call in REFUSED if call.startswith(("socket", "io_uring", "userfault", "keyctl", "x32 socket"))]
    assert {call: calls[call] for call in still} == dict.fromkeys(still, "EPERM")
    assert calls["unshare"] == "ok" and calls["mount"] != "EPERM"


def test_without_a_profile_the_kernel_itself_answers(pod):
    """The control: what is EPERM above is so because of the filter."""
    linux = kubelet.ordinary(seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined))
    calls = prober.by_create(pod, linux=linux)["calls"]
    ours = [call for call in REFUSED if call.startswith(("socket", "key", "io_", "user"))]
    assert [call for call in ours if calls[call] == "EPERM"] == []
