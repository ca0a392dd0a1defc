"""L21: long fields arrive whole or are refused, never cut off or read as something else (CVE-2021-43784)."""

import grpc
import pytest

from lib.cri import security
from lib.rounds import rounds
from lib.stubs import pb


def test_seventy_thousand_bytes_and_four_thousand_groups_arrive_whole(pod):
    linux = security(supplemental_groups=range(1, 4097))
    envs = [pb.KeyValue(key="V", value=b"x" * 70_000)]
    text = pod.output("echo ${#V} $#; id -G | wc -w", linux=linux, envs=envs, args=["sh", *["y"] * 2000])
    assert text == "70000 2000\n4097\n"


def test_a_thousand_mounts(pod, tmp_path):
    count = rounds(1000, 10_000)
    mounts = [pb.Mount(container_path=f"/m/{number}", host_path=str(tmp_path)) for number in range(count)]
    assert int(pod.output("grep -c ' /m/' /proc/self/mountinfo", mounts=mounts)) == count


@pytest.mark.parametrize("fields, field", [
    (dict(envs=[pb.KeyValue(key="V", value=b"x" * (1 << 18))]), ""),  # over the kernel's 128 KiB for one string
    (dict(working_dir="/" + "d" * 5000), "working"),
    (dict(mounts=[pb.Mount(container_path="/" + "x" * 5000, host_path="/tmp")]), ""),
    # over 2 MiB together
    (dict(envs=[pb.KeyValue(key=f"K{number}", value=b"x" * 100_000) for number in range(25)]), ""),
    (dict(args=["y" * 100_000] * 25), ""),
], ids=["one variable", "directory", "mount", "environment", "arguments"])
def test_what_does_not_fit_is_refused(pod, fields, field):
    try:
        container = pod.create(["true"], **fields)
    except grpc.RpcError as error:
        code, text = error.code(), error.details()
    else:
        refused = container.start_refused()
        code, text = refused.code, refused.text
        assert container.status().reason == "StartError"
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED,
                    grpc.StatusCode.FAILED_PRECONDITION), (code, text[:200])
    assert field in text and len(text) < 8192, text[:300]
    # and nothing has come out of step: the next request is read as it is
    assert pod.output("echo fine") == "fine\n"


def test_variables_are_not_compared_with_each_other(pod):
    """A thread of the daemon was busy for minutes with as many, and an image may have them, too."""
    refused = pod.create_refused(["true"], envs=[pb.KeyValue(key=str(number)) for number in range(600_000)])
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and refused.text.startswith("envs: 60000"), refused
