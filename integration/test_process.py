"""What the program finds: arguments, environment, directory, user; the request merged with the image's config."""

import re
import resource

import grpc
import pytest

from lib import images, logs, oci, tar, trace
from lib.cri import SLEEPER, security
from lib.stubs import pb

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHOW = 'for a in "$0" "$@"; do echo "[$a]"; done'


@pytest.fixture
def load(cri):
    """Loads an image with the given configuration over busybox and removes it after the case."""
    loaded = []

    def load(*layers: oci.Layer, **config) -> str:
        image = images.busybox().with_layers(*layers).with_config(**config)
        name = f"docker.io/test/case{len(loaded)}:v1"
        cri.load(oci.layout_archive({name: image}))
        loaded.append(name)
        return name

    yield load
    cri.remove_all()
    for name in loaded:
        cri.remove_image(name)


@pytest.mark.parametrize("entrypoint, cmd, command, args, expected", [
    (["sh", "-c", SHOW], ["image"], [], [], ["image"]),
    (["sh", "-c", SHOW], ["image"], [], ["own"], ["own"]),
    (["sh", "-c", SHOW], ["image"], ["sh", "-c", SHOW, "own"], [], ["own"]),
    (["false"], ["image"], ["sh", "-c", SHOW], ["own", "two words"], ["own", "two words"]),
    ([], ["sh", "-c", SHOW, "image"], [], [], ["image"]),
    ([""], ["sh", "-c", SHOW, "image"], [], [], ["image"]),
])
def test_arguments(cri, pod, load, entrypoint, cmd, command, args, expected):
    image = load(Entrypoint=entrypoint, Cmd=cmd)
    container = pod.run(command, image=image, args=args)
    container.wait()
    assert container.log_text() == "".join(f"[{word}]\n" for word in expected)


def test_no_command_at_all_is_refused(pod, load):
    refused = pod.create_refused(image=load(Cmd=[], Entrypoint=[]))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT


def test_environment_in_order_and_later_ones_win(pod, load):
    image = load(Env=["A=image", "B=image", "HOME=/image-home"])
    envs = [("B", b"own"), ("C", b"x=y z"), ("A", b""), ("BYTES", b"\xff\xfe"), ("C", b"last")]
    container = pod.run(["cat", "/proc/self/environ"], image=image,
                        envs=[pb.KeyValue(key=key, value=value) for key, value in envs])
    container.wait()
    found = logs.content(container.log()).split(b"\0")
    assert found == [PATH.encode(), b"HOSTNAME=" + pod.config.hostname.encode(), b"A=", b"B=own", b"HOME=/image-home",
                     b"C=last", b"BYTES=\xff\xfe", b""]


def test_home_comes_from_passwd(pod):
    assert pod.output("echo $HOME") == "/root\n"
    assert pod.output("echo $HOME", linux=security(run_as_user=pb.Int64Value(value=1000))) == "/home/alice\n"
    assert pod.output("echo $HOME", linux=security(run_as_user=pb.Int64Value(value=4242))) == "/\n"


def test_working_directory(pod, load):
    image = load(WorkingDir="/var")
    assert pod.output("pwd") == "/\n"
    assert pod.output("pwd", image=image) == "/var\n"
    assert pod.output("pwd", image=image, working_dir="/tmp") == "/tmp\n"
    assert pod.output("pwd; stat -c %a .", working_dir="/made/for/it") == "/made/for/it\n755\n"


def test_working_directory_behind_a_link_stays_inside(pod, load):
    image = load(oci.Layer.of(tar.symlink("escape", "/../../../var"), tar.directory("var/inside/")))
    assert pod.output("pwd", image=image, working_dir="/escape/inside") == "/var/inside\n"


STATUS = "awk '/^(Uid|Gid|Groups):/ {$1=\"\"; print}' /proc/self/status"


def ids(text: str) -> tuple[int, int, list[int]]:
    lines = [[int(word) for word in line.split()] for line in text.splitlines()]
    assert len(set(lines[0])) == 1 and len(set(lines[1])) == 1, text
    return lines[0][0], lines[1][0], sorted(lines[2])


@pytest.mark.parametrize("image_user, fields, expected", [
    ("", {}, (0, 0, [0])),
    ("", dict(run_as_user=1000), (1000, 1000, [1000])),
    ("", dict(run_as_user=1000, run_as_group=7), (1000, 7, [7])),
    ("", dict(run_as_user=4242), (4242, 0, [0])),
    ("", dict(run_as_username="alice"), (1000, 1000, [50, 1000, 1234])),
    ("alice", {}, (1000, 1000, [50, 1000, 1234])),
    ("alice:staff", {}, (1000, 50, [50, 1234])),
    ("33", {}, (33, 33, [33])),
    ("4242:4343", {}, (4242, 4343, [4343])),
    ("alice", dict(run_as_user=33), (33, 33, [33])),
    ("", dict(run_as_username="alice", supplemental_groups=[50000]), (1000, 1000, [50, 1000, 1234, 50000])),
    ("alice", dict(supplemental_groups=[50000], policy=1), (1000, 1000, [1000, 50000])),
    ("", dict(supplemental_groups=[9, 8, 9]), (0, 0, [0, 8, 9])),
])
def test_user_and_groups(pod, load, image_user, fields, expected):
    fields = dict(fields)
    context = {key: pb.Int64Value(value=fields.pop(key)) for key in ("run_as_user", "run_as_group") if key in fields}
    if "policy" in fields:
        context["supplemental_groups_policy"] = fields.pop("policy")
    image = load(User=image_user) if image_user else "busybox"
    container = pod.run(["sh", "-c", STATUS], image=image, linux=security(**context, **fields))
    container.wait()
    uid, gid, groups = ids(container.log_text())
    wanted = list(expected[2])
    if uid in (1000, 33) and "run_as_user" in context or image_user == "33":
        groups = [group for group in groups if group not in (50, 1234)]  # a number's name may bring its groups, or not
    assert (uid, gid, groups) == (expected[0], expected[1], wanted)
    user = container.status().user.linux
    assert (user.uid, user.gid) == expected[:2]


def test_image_status_tells_its_user(cri, load):
    assert cri.image_status(load(User="1000:1000")).uid.value == 1000
    assert cri.image_status(load(User="alice")).username == "alice"


def test_standard_input_is_empty(pod):
    assert pod.output("readlink /proc/self/fd/0; wc -c") == "/dev/null\n0\n"


def test_standard_input_stays_open_when_it_is_asked_for(pod):
    """Nobody can write to it yet; a program that reads it waits, whether the first writer may close it or not."""
    for once in (False, True):
        container = pod.run(["sh", "-c", "cat; echo ended"], stdin=True, stdin_once=once, name=f"stdin-once-{once}")
        assert container.shell("readlink /proc/1/fd/0").startswith("pipe:")
        assert container.status().state == pb.CONTAINER_RUNNING and container.log_text() == ""
    assert pod.output("cat; echo ended", stdin_once=True) == "ended\n"


def test_a_termination_message_is_on_the_host_when_the_end_is_told(pod, tmp_path):
    """As kubelet mounts it; also with a read-only root, and where the program is killed right after it."""
    for number, readonly in enumerate((False, True)):
        path = tmp_path / f"message-{number}"
        path.touch()
        container = pod.run(
            ["sh", "-c", "echo -n why > /dev/termination-log; kill -9 $$; exit 3"], name=f"message-{number}",
            mounts=[pb.Mount(container_path="/dev/termination-log", host_path=str(path))],
            linux=security(readonly_rootfs=readonly))
        assert container.wait().exit_code == 3  # process 1 does not hear its own KILL
        assert path.read_text() == "why"


def test_only_three_descriptors_are_open(pod):
    assert pod.output("ls /proc/self/fd | grep -v '^3$'") == "0\n1\n2\n"  # 3 is ls's own


def test_signals_are_at_their_defaults(pod):
    text = pod.output(["grep", "^Sig", "/proc/self/status"])
    assert set(re.findall(r"Sig(?:Blk|Ign):\t(\w+)", text)) == {"0" * 16}


def test_limits_and_oom_score(pod):
    from lib.cri import resources

    linux = resources(oom_score_adj=500)
    assert pod.output("cat /proc/self/oom_score_adj", linux=linux) == "500\n"


def test_umask_is_as_usual(pod):
    assert pod.output("umask") == "0022\n"


def test_descriptors_are_many_for_us_and_as_many_as_select_takes_for_programs(cri, daemon, tmp_path):
    """RLIMIT_NOFILE, soft and hard: the daemon takes what it may have, and its shims with it; a program begins with
    1024, FD_SETSIZE, and may take as much."""
    (soft, hard), files = resource.getrlimit(resource.RLIMIT_NOFILE), resource.RLIMIT_NOFILE
    daemon.terminate()
    resource.setrlimit(files, (min(soft, 512), hard))
    try:
        daemon.start()
    finally:
        resource.setrlimit(files, (soft, hard))
    pod = cri.run_pod()
    # The shim holds a descriptor for each of them at once.
    container = pod.run(SLEEPER, mounts=[
        pb.Mount(container_path=f"/m/{number}", host_path=str(tmp_path)) for number in range(600)])
    found = [resource.prlimit(pid, files) for pid in (daemon.pid, trace.shim_of(pod), container.info()["pid"])]
    assert found == [(hard, hard), (hard, hard), (min(1024, hard), hard)]
    text = container.shell(f"ulimit -Sn; ulimit -Hn; ulimit -Sn {hard}; ulimit -Sn")
    assert [int(word) for word in text.split()] == [min(1024, hard), hard, hard]
