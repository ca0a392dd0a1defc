"""The warm pool (NETWORK.md D12), and who holds a pod's network namespace (D11)."""

import os
import signal

import pytest

from lib import wait
from lib.census import Census, steady
from lib.cri import SLEEPER
from lib.pods import serve

SIZE = 4


def spares(daemon) -> list[str]:
    return [name for name, link in daemon.node.inside.links().items() if link.get("ifalias") == "podnet:spare"]


def pods(daemon) -> set[str]:
    return {name for name in daemon.node.inside.links() if name.startswith("pod")}


def held(pid: int) -> list[str]:
    """Network namespaces that a process holds open."""
    links = (os.path.join(f"/proc/{pid}/fd", number) for number in os.listdir(f"/proc/{pid}/fd"))
    return [target for target in map(read_link, links) if target.startswith("net:[")]


def read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def is_full(daemon) -> None:
    """As many as are wanted, and no other namespace in the daemon's hands."""
    wait.until(lambda: len(spares(daemon)) == SIZE and len(held(daemon.pid)) == SIZE, "full pool")


@pytest.fixture
def pooled(make_daemon):
    daemon = make_daemon(network={"pool": SIZE})
    is_full(daemon)
    return daemon


def test_a_pod_takes_what_waits_and_another_comes_in_its_place(pooled):
    before = min(spares(pooled))  # names follow from addresses, which go round
    server, client = pooled.client.run_pod(), pooled.client.run_pod()
    link = pooled.node.inside.links()[before]
    assert link["ifalias"] == f"podnet:{server.id}" and link["master"] == pooled.network["bridge"]
    serve(server, "[::]:8080")
    container = client.run(SLEEPER)
    for address in (server.ip, f"[{server.status().network.additional_ips[0].ip}]"):
        assert container.shell(f"timeout 50 wget -q -O - http://{address}:8080/") == "page\n"
    is_full(pooled)


def test_with_a_pool_the_host_is_counted_the_same_afterwards(pooled):
    """Names differ, since addresses go round; how many there are does not."""
    def count() -> dict[str, int]:
        is_full(pooled)
        return {name: found.total() for name, found in Census(pooled).take().items()}

    before = steady(count)
    for _ in range(3):
        made = [pooled.client.run_pod() for _ in range(SIZE + 2)]
        for pod in made:
            pod.remove()
    wait.until(lambda: len(pods(pooled)) == SIZE, "end of the pods' links")
    wait.until(lambda: count() == before, "the same count")


def test_what_waits_ends_with_the_daemon(pooled):
    pod = pooled.client.run_pod()
    mine = "pod" + bytes(int(part) for part in pod.ip.split(".")).hex()
    is_full(pooled)
    pooled.kill()
    wait.until(lambda: pods(pooled) == {mine}, "end of what waited, by the kernel")
    pooled.start()
    is_full(pooled)
    assert pod.status().network.ip == pod.ip and len(pods(pooled)) == SIZE + 1
    assert pooled.terminate() == 0
    wait.until(lambda: pods(pooled) == {mine}, "end of what waited, by the daemon")
    pooled.start()
    is_full(pooled)


def test_only_pause_holds_a_pods_namespace(daemon, cri, pod):
    pid = pod.info()["pid"]
    space = os.readlink(f"/proc/{pid}/ns/net")
    shims = daemon.shims()
    assert len(shims) == 1
    wait.until(lambda: space not in held(daemon.pid) + held(shims[0]), "namespace in nobody else's hands")
    link = "pod" + bytes(int(part) for part in pod.ip.split(".")).hex()
    assert link in daemon.node.inside.links()
    os.kill(pid, signal.SIGKILL)
    wait.until(lambda: link not in daemon.node.inside.links(), "end of the link with pause")
    assert daemon.alive
