"""Many pods, and many daemons."""

import concurrent.futures
import time

import pytest

from lib.census import Census
from lib.cri import SLEEPER
from lib.netns import Node


def up(cri):
    pod = cri.run_pod()
    return pod, pod.run(SLEEPER)


@pytest.mark.slow
def test_two_hundred_pods_up_and_down(make_daemon):
    daemon = make_daemon(network={"pod_cidrs": ["10.244.0.0/22", "fd44::/64"]})
    cri, census = daemon.client, Census(daemon)
    before = census.take()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        made = list(pool.map(lambda _: up(cri), range(200)))
        took = time.monotonic() - began
        print(f"200 pods in {took:.1f} s: {200 / took:.0f} pods/s")
        assert len(cri.pods()) == 200 and len(cri.containers()) == 200
        assert len({pod.ip for pod, _ in made}) == 200
        assert all(answer.exit_code == 0 for answer in pool.map(lambda pair: pair[1].execute("true"), made))

        def down(pair):
            pair[1].stop(0)
            pair[0].stop()
            pair[0].remove()

        list(pool.map(down, made))
    census.settled(before, deadline=180)


@pytest.mark.slow
def test_one_pod_many_times(make_daemon):
    """Nothing grows: descriptors, files, memory of the daemon within bounds."""
    daemon = make_daemon(network={"pod_cidrs": ["10.244.0.0/20", "fd44::/64"]})
    cri, census = daemon.client, Census(daemon)

    def once():
        pod, container = up(cri)
        container.execute("true")
        pod.remove()

    def rss() -> int:
        with open(f"/proc/{daemon.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

    for _ in range(20):
        once()
    daemon.rests()
    before, memory = census.take(), rss()
    for _ in range(200):
        once()
    census.settled(before)
    assert rss() < memory + 16 * 1024, f"{memory} KiB before, {rss()} KiB after"


def test_daemons_side_by_side_on_one_machine(make_daemon):
    """Three in one network namespace: own directories, bridges and ranges, and no interest in each other's pods."""
    node = Node()
    try:
        daemons = [make_daemon(node=node) for _ in range(3)]
        pods = {daemon: [daemon.client.run_pod() for _ in range(2)] for daemon in daemons}
        assert len({pod.ip for own in pods.values() for pod in own}) == 6
        for daemon, own in pods.items():
            assert {pod.id for pod in daemon.client.pods()} == {pod.id for pod in own}
        # one is killed, started, and emptied: the others' pods do not notice
        daemons[0].kill()
        daemons[0].start()
        daemons[0].client.remove_all()
        for daemon in daemons[1:]:
            for pod in pods[daemon]:
                assert pod.ready and pod.output("echo ok") == "ok\n"
        for daemon in daemons:
            daemon.close()
    finally:
        node.close()
