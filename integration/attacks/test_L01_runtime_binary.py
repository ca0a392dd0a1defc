"""L01: a container must not reach the runtime's own binaries through /proc/PID/exe (CVE-2019-5736).

The spy (programs/spy.c) opens every process's program as the exploit did, and looks for what L23 is about besides.
Seen to fail without runFromReadonlyMount of the shim."""

import concurrent.futures
import hashlib

import grpc
import pytest

from lib import oci, spy, tar, tracing
from lib.cri import SLEEPER
from lib.rounds import rounds
from lib.stubs import pb

COMMANDS = rounds(400, 1000)


@pytest.fixture
def unchanged(programs):
    def sums() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in programs.iterdir() if path.name.startswith("swiftlet") and path.is_file()}

    before = sums()
    yield
    assert sums() == before


def test_spies_beside_many_commands(cri, unchanged):
    """One with SYS_PTRACE opens the program of every child of the runtime's, and one without nothing of it (L23)."""
    pod = spy.shared_pod(cri)
    ordinary = spy.run(pod)
    tracer = spy.run(pod, "tracer", capabilities=pb.Capability(add_capabilities=["SYS_PTRACE"]))
    victims = [pod.run(SLEEPER, name=f"victim-{number}") for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda number: victims[number % 4].execute("true").exit_code, range(COMMANDS)))
    assert codes == [0] * COMMANDS
    for number in range(20):
        pod.run(["true"], name=f"short-{number}").wait()
    for watcher in (ordinary, tracer):
        assert watcher.status().state == pb.CONTAINER_RUNNING
        watcher.stop()
    assert not spy.findings(ordinary)
    of_programs = {line for line in spy.findings(tracer) if not line.startswith("leak")}
    assert of_programs == {"exe /swiftlet-shim readonly"}


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


def test_what_it_can_open_of_the_runtime_is_read_only_for_ever(cri, daemon, image, tmp_path):
    """The runtime's program runs inside, held up in its last call, so that the spy finds it. That it is busy now is no
    protection: who holds it open can wait for its end. The mount that it is opened through is read-only."""
    name = image(oci.Layer.of(tar.file("bad", "#!/proc/self/exe\n", mode=0o755)))
    pod = spy.shared_pod(cri)
    watcher = spy.run(pod)
    (shim,) = daemon.shims()
    with tracing.traced(shim, tmp_path / "trace", "exit_group", slow={"exit_group": 200_000}):
        for number in range(50):
            pod.run(["/bad"], image=name, name=f"bad-{number}").wait()
            if "exe /swiftlet-shim" in watcher.log_text():
                break
    assert spy.findings(watcher) == {"exe /swiftlet-shim readonly"}


def test_no_process_of_the_runtime_is_seen_inside(cri):
    """In a shared PID namespace: pause and the containers' own, no shim."""
    pod = spy.shared_pod(cri)
    container = pod.run(SLEEPER)
    text = container.shell("cat /proc/[0-9]*/comm")
    assert "swiftlet-shim" not in text and "swiftletd" not in text
