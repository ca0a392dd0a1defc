"""L01: a container must not reach the runtime's own binaries through /proc/PID/exe (CVE-2019-5736)."""

import hashlib

import grpc
import pytest

from lib import oci, tar
from lib.cri import SLEEPER
from lib.stubs import pb

# Tries for as long as it runs to open every process's program for writing, by a path descriptor as the exploit did.
HUNTER = """
while :; do
  for exe in /proc/[0-9]*/exe; do
    exec 9<"$exe" 2>/dev/null || continue
    (echo overwritten > /proc/self/fd/9) 2>/dev/null && echo "wrote $exe $(readlink $exe)"
    exec 9<&-
  done
done
"""


@pytest.fixture
def unchanged(programs):
    def sums() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in programs.iterdir() if path.name.startswith("swiftlet") and path.is_file()}

    before = sums()
    yield
    assert sums() == before


def shared(cri):
    """A pod whose containers see each other's processes, and pause."""
    return cri.run_pod(linux=pb.LinuxPodSandboxConfig(cgroup_parent=cri.cgroup_parent))


@pytest.mark.slow
def test_a_hunter_beside_many_commands(cri, unchanged):
    pod = shared(cri)
    hunter = pod.run(["sh", "-c", HUNTER], name="hunter")
    victim = pod.run(SLEEPER, name="victim")
    for _ in range(300):
        assert victim.execute("true").exit_code == 0
    for number in range(20):
        pod.run(["true"], name=f"short-{number}").wait()
    hunter.stop()
    assert not [line for line in hunter.log_text().splitlines() if "swiftlet" in line]


def test_an_entrypoint_that_is_the_runtime_itself(cri, pod, image, unchanged):
    """`#!/proc/self/exe` and a link to it: refused, or a copy that nobody can write to, and that ends by itself."""
    name = image(oci.Layer.of(tar.file("bad", "#!/proc/self/exe\n", mode=0o755), tar.symlink("link", "/proc/self/exe")))
    for number, command in enumerate((["/bad"], ["/link"], ["/proc/self/exe"])):
        container = pod.create(command, image=name, name=f"c{number}")
        try:
            container.start()
        except grpc.RpcError as error:
            assert error.details()
        else:
            container.wait()
    running = pod.run(SLEEPER, image=name, name="running")
    for command in ("/bad", "/link"):
        try:
            running.execute(command)
        except grpc.RpcError as error:
            assert error.details()


def test_no_process_of_the_runtime_is_seen_inside(cri):
    """In a shared PID namespace: pause and the containers' own, no shim."""
    pod = shared(cri)
    container = pod.run(SLEEPER)
    text = container.shell("cat /proc/[0-9]*/comm")
    assert "swiftlet-shim" not in text and "swiftletd" not in text
