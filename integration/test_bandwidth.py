"""Bandwidth annotations: real bytes through a limit, and the limit's own account of them."""

import contextlib
import threading
import time

import grpc
import pytest

from lib import wait
from lib.cri import SLEEPER
from lib.netns import Node

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
SIZE = 1 << 20
# Bytes a second that 8M allows; 10 ms of it pass at once. A loaded machine is slower than the limit, never faster.
RATE = 1_000_000


def limited(cri, ingress: str, egress: str):
    return cri.run_pod(annotations={INGRESS: ingress, EGRESS: egress})


def download(daemon, container) -> float:
    """Seconds that the pod takes for SIZE bytes from the world."""
    with contextlib.closing(daemon.node.outside.listen(Node.OUTSIDE)) as listener:
        listener.settimeout(60)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"http://{Node.OUTSIDE}:{listener.getsockname()[1]}/"
        before = time.monotonic()
        got = container.shell(f"timeout 50 wget -q -O - {address} | wc -c")
        spent = time.monotonic() - before
        thread.join()
    assert int(got) == SIZE
    return spent


def upload(daemon, container) -> float:
    """Seconds that the world takes for SIZE bytes from the pod."""
    with contextlib.closing(daemon.node.outside.listen(Node.OUTSIDE)) as listener:
        listener.settimeout(60)
        counted = []

        def read() -> None:
            connection, _ = listener.accept()
            with connection:
                total = 0
                while part := connection.recv(65536):
                    total += len(part)
                counted.append(total)

        thread = threading.Thread(target=read)
        thread.start()
        before = time.monotonic()
        container.shell(f"dd if=/dev/zero bs=65536 count={SIZE // 65536} 2>/dev/null | "
                        f"timeout 50 nc {Node.OUTSIDE} {listener.getsockname()[1]}")
        thread.join()
        spent = time.monotonic() - before
    assert counted == [SIZE]
    return spent


def test_bytes_pass_at_the_annotated_rate(cri, daemon):
    pod = limited(cri, ingress="8M", egress="8M")
    container = pod.run(SLEEPER)
    free = cri.run_pod().run(SLEEPER)
    least = 0.85 * SIZE / RATE
    for measure in (download, upload):
        assert measure(daemon, container) >= least
        # On a busy machine that one may be slow, too; only a limited one is so each time.
        wait.until(lambda measure=measure: measure(daemon, free) < least, "an unlimited pod's speed", 120)
    host = pod.info()["hostInterface"]
    for device in (host, "i" + host):
        (queue,) = [entry for entry in daemon.node.inside.json("tc", "-s", "-j", "qdisc", "show", "dev", device)
                    if entry["kind"] == "tbf"]
        assert queue["options"]["rate"] == RATE
        assert queue["bytes"] >= SIZE and queue["overlimits"] > 0, queue


@pytest.mark.parametrize("name", [INGRESS, EGRESS])
@pytest.mark.parametrize("value", ["fast", "999", "2000T"])
def test_a_bad_rate_is_named(cri, name, value):
    refused = cri.refused("RunPodSandbox", config=cri.pod_config(annotations={name: value}))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert name in refused.text and value in refused.text


def test_limits_outlive_the_daemon(cri, daemon):
    pod = limited(cri, ingress="1G", egress="8M")
    host = pod.info()["hostInterface"]

    def queues() -> list:
        space = daemon.node.inside
        return [space.run("tc", *words, "dev", device) for device in (host, "i" + host)
                for words in (["qdisc", "show"], ["filter", "show", "ingress"])]

    before, shaper = queues(), daemon.node.inside.links()["i" + host]["ifindex"]
    daemon.kill()
    daemon.start()
    assert queues() == before and daemon.node.inside.links()["i" + host]["ifindex"] == shaper
    pod.remove()
