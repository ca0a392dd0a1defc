"""L20, D08, D09, D10: who a container's process is comes from numbers with bounds and from the image's files as data;
never root by accident, for the first process and for an exec alike."""

import time

import grpc
import pytest

from lib import oci, tar
from lib.cri import SLEEPER, security
from lib.stubs import pb

PASSWD = """root:x:0:0:root:/root:/bin/sh
web:x:1000:1001::/srv:/bin/sh
1:x:0:0::/root:/bin/sh
01:x:0:0::/root:/bin/sh
4294967296:x:0:0::/root:/bin/sh
2147483648:x:0:0::/root:/bin/sh
18446744073709551616:x:0:0::/root:/bin/sh
1x:x:4242:4242::/:/bin/sh
none:x:4294967295:100::/:/bin/sh
nogid:x:1000:4294967295::/:/bin/sh
member:x:1002:1002::/:/bin/sh
"""
GROUP = ("root:x:0:\nstaff:x:50:web\nsecret:x:999:web\n1:x:0:\n2147483648:x:0:\n"
         "nobodys:x:4294967295:\nhuge:x:2147483648:member\n")
IDS = "id -u; id -g; id -G"


@pytest.fixture
def load(image):
    accounts = oci.Layer.of(tar.file("etc/passwd", PASSWD), tar.file("etc/group", GROUP))
    return lambda **config: image(accounts, **config)


def ids(text: str) -> tuple[int, int, list[int]]:
    uid, gid, groups = text.splitlines()
    return int(uid), int(gid), sorted(int(group) for group in groups.split())


def of_both(container) -> tuple[int, int, list[int]]:
    """Of the first process and of an exec, which must be the same, and what the status says."""
    execs = ids(container.shell(IDS))
    status = container.shell("cat /proc/1/status").splitlines()
    field = {line.split(":")[0]: line.split(":")[1].split() for line in status}
    first = int(field["Uid"][0]), int(field["Gid"][0]), sorted(int(group) for group in field["Groups"])
    assert first == execs and len(set(field["Uid"])) == 1 and len(set(field["Gid"])) == 1
    told = container.status().user.linux
    assert (told.uid, told.gid, list(told.supplemental_groups)) == first
    return first


def test_an_images_user_is_a_number_or_a_known_name(pod, load):
    for user, expected in [("", (0, 0)), ("0", (0, 0)), ("1", (1, 0)), ("1:2", (1, 2)), ("01", (1, 0)),
                           ("root", (0, 0)), ("1x", (4242, 4242)), ("1000:1", (1000, 1)),
                           ("2147483647", (2147483647, 0))]:
        assert of_both(pod.run(SLEEPER, image=load(User=user), name=f"as-{user}"))[:2] == expected, user


def test_an_images_user_that_is_neither_is_refused(pod, load):
    for user in ("+1", "-1", "4294967295", "4294967296", "2147483648", "99999999999", "18446744073709551616", "1 ",
                 "2x", ":5", "web:", "1:2147483648", "web:nosuch", "web:staff:x", "none", "nogid",
                 "member", "web:nobodys"):
        refused = pod.create_refused(SLEEPER, image=load(User=user))
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "User" in refused.text, (user, refused)


def test_a_requests_user_out_of_bounds_is_refused(pod, load):
    name = load()
    for fields, word in [
        (dict(run_as_user=pb.Int64Value(value=-1)), "run_as_user"),
        (dict(run_as_user=pb.Int64Value(value=2**31)), "run_as_user"),
        (dict(run_as_user=pb.Int64Value(value=2**32)), "run_as_user"),
        (dict(run_as_user=pb.Int64Value(value=1), run_as_group=pb.Int64Value(value=2**32)), "run_as_group"),
        (dict(run_as_group=pb.Int64Value(value=1)), "run_as_group"),
        (dict(supplemental_groups=[-1]), "supplemental_groups"),
        (dict(supplemental_groups=[2**32]), "supplemental_groups"),
        (dict(run_as_username="nosuch"), "run_as_username"),
        (dict(run_as_username="4294967296"), "run_as_username"),
        (dict(run_as_username="web:0"), "run_as_username"),
        (dict(supplemental_groups_policy=7), "supplemental_groups_policy"),
    ]:
        refused = pod.create_refused(SLEEPER, image=name, linux=security(**fields))
        assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and word in refused.text, (fields, refused)


def test_groups_by_both_policies(pod, load):
    """D08: the first group is always among the groups; Strict takes none from the image."""
    user, group = (pb.Int64Value(value=value) for value in (1000, 3))
    for number, (image, fields, expected) in enumerate([
        ("1000:0", {}, (1000, 0, [0, 50, 999])),
        ("1000:0", dict(supplemental_groups_policy=pb.Strict), (1000, 0, [0])),
        ("web", dict(supplemental_groups=[7]), (1000, 1001, [7, 50, 999, 1001])),
        ("web", dict(supplemental_groups=[7], supplemental_groups_policy=pb.Strict), (1000, 1001, [7, 1001])),
        ("", dict(run_as_user=user, run_as_group=group), (1000, 3, [3, 50, 999])),
        ("", dict(run_as_user=user, run_as_group=group, supplemental_groups_policy=pb.Strict), (1000, 3, [3])),
        ("root", dict(run_as_username="web"), (1000, 1001, [50, 999, 1001])),
        ("root", dict(run_as_username="1"), (1, 0, [0])),
    ]):
        container = pod.run(SLEEPER, image=load(User=image), name=f"of-{number}", linux=security(**fields))
        assert of_both(container) == expected, (image, fields)


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
def test_account_files_that_are_none(pod, image, daemon, name):
    """D10: refused at once, whatever the image made of them; nothing is opened that could wait, nor read whole."""
    before = memory(daemon)
    for entry in (tar.fifo(name), tar.character(name, 1, 5), tar.symlink(name, name.split("/")[1]),
                  tar.file(name, b"x" * (11 << 20)), tar.directory(name + "/")):
        begun = time.monotonic()
        refused = pod.create_refused(SLEEPER, image=image(oci.Layer.of(entry)), linux=security(run_as_username="alice"))
        assert time.monotonic() - begun < 60, "it waited for somebody"
        assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and name in refused.text, refused
    assert memory(daemon) - before < 64 << 10


def memory(daemon) -> int:
    """Its resident set, in kB."""
    with open(f"/proc/{daemon.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
