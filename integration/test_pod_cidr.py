"""Pod blocks from kubelet: UpdateRuntimeConfig (CRI.md 1.4)."""

import ipaddress

import grpc
import pytest

from lib import wait
from lib.cluster import Cluster, interrupt
from lib.stubs import pb


def update(daemon, blocks: str):
    return pb.UpdateRuntimeConfigRequest(
        runtime_config=pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr=blocks)))


def network_ready(daemon):
    conditions = daemon.client.call("Status").status.conditions
    return next(condition for condition in conditions if condition.type == "NetworkReady")


def within(pod, block: str) -> bool:
    return ipaddress.ip_address(pod.ip) in ipaddress.ip_network(block)


def test_a_node_waits_for_its_blocks_and_keeps_them(make_daemon):
    daemon = make_daemon(load=False, network={"pod_cidrs": ["auto"]})
    condition = network_ready(daemon)
    assert not condition.status and condition.reason == "PodCIDRUnknown" and "kubelet" in condition.message
    refused = daemon.client.refused("RunPodSandbox", config=daemon.client.pod_config())
    assert refused.code == grpc.StatusCode.UNAVAILABLE
    node = pb.LinuxPodSandboxConfig(security_context=pb.LinuxSandboxSecurityContext(
        namespace_options=pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)))
    host = daemon.client.run_pod(linux=node)  # the node's own network is there
    daemon.client.call("UpdateRuntimeConfig", update(daemon, ""))
    assert not network_ready(daemon).status
    daemon.client.call("UpdateRuntimeConfig", update(daemon, "10.244.9.0/24,fd44:9::/64"))
    assert network_ready(daemon).status
    first = daemon.client.run_pod()
    assert within(first, "10.244.9.0/24")
    daemon.client.call("UpdateRuntimeConfig", update(daemon, "10.244.9.0/24,fd44:9::/64"))  # the same is no change
    interrupt(daemon)
    assert network_ready(daemon).status and host.ready and first.ready
    assert within(daemon.client.run_pod(), "10.244.9.0/24")

    refused = daemon.client.refused("UpdateRuntimeConfig", update(daemon, "10.244.10.0/24"))
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "10.244.9." in refused.text
    assert within(daemon.client.run_pod(), "10.244.9.0/24")
    for pod in daemon.client.pods():
        daemon.client.call("StopPodSandbox", pod_sandbox_id=pod.id)
    daemon.client.call("UpdateRuntimeConfig", update(daemon, "10.244.10.0/24"))
    last = daemon.client.run_pod()
    assert within(last, "10.244.10.0/24") and not last.status().network.additional_ips
    bridge = daemon.node.inside.json("ip", "-j", "-4", "address", "show", daemon.network["bridge"])
    assert [address["local"] for address in bridge[0]["addr_info"]] == ["10.244.10.1"]


@pytest.mark.parametrize("blocks", ["nonsense", "10.244.9.1/24", "10.244.9.0/24,10.244.8.0/24", "127.0.0.0/16", ","])
def test_blocks_that_make_no_sense(cri, daemon, blocks):
    refused = cri.refused("UpdateRuntimeConfig", update(daemon, blocks))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT and "pod_cidr" in refused.text
    assert network_ready(daemon).status


def test_the_registry_gives_the_blocks_where_there_is_one(programs):
    cluster = Cluster()
    try:
        cluster.write()
        daemon = cluster.make("a", "host-gw", pod_cidrs=["auto"]).start()
        wait.until(lambda: network_ready(daemon).status, "the registry's blocks")
        assert daemon.client.run_pod().ip.startswith("10.244.1.")
        refused = daemon.client.refused("UpdateRuntimeConfig", update(daemon, "10.244.9.0/24"))
        assert refused.code == grpc.StatusCode.FAILED_PRECONDITION and "registry" in refused.text
    finally:
        cluster.close()
