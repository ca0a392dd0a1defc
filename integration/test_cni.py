"""CNI as a choice: Debian's plugins, and plugins of our own that fail, inside the node's namespace."""

import json

import grpc
import pytest

from lib import wait
from lib.census import Census
from lib.cri import SLEEPER
from lib.daemon import toml
from lib.pods import fetch, in_pod_json, serve
from lib.stubs import pb
from lib.swiftlet import Swiftlet

DEBIAN = "/usr/lib/cni"

# Notes every call, and passes on what came before it; a line in the file `verdict` makes that command fail.
SPY = """#!/bin/sh
here=$(dirname "$0")
conf=$(cat /dev/stdin)
printf '%s %s %s\\n' "$CNI_COMMAND" "$CNI_IFNAME" "$CNI_ARGS" >> $here/calls
printf '%s' "$conf" > $here/last-$CNI_COMMAND
if grep -q "^$CNI_COMMAND\\$" $here/verdict 2>/dev/null; then
  echo '{"cniVersion":"1.0.0","code":11,"msg":"the fabric is down","details":"port 7"}'
  exit 1
fi
[ "$CNI_COMMAND" = ADD ] && printf '%s' "$conf" | sed 's/.*"prevResult":\\({.*}\\),"type".*/\\1/'
exit 0
"""


class Plugins:
    """A daemon's configuration directory, and what its plugins keep."""

    def __init__(self, daemon):
        self.daemon, self.base = daemon, daemon.base / "cni"
        self.configuration, self.programs, self.data = (self.base / name for name in ("net.d", "bin", "ipam"))
        for directory in (self.configuration, self.programs):
            directory.mkdir(parents=True)
        (self.programs / "spy").write_text(SPY)
        (self.programs / "spy").chmod(0o755)
        daemon.config.write_text(toml({
            "network": {"provider": "cni"},
            "network.cni": {"conf_dir": str(self.configuration), "bin_dirs": [str(self.programs), DEBIAN]}}))

    def write(self, name: str = "10-pods.conflist", version: str = "1.0.0", plugins: list | None = None) -> None:
        number = self.daemon.number
        bridge = {
            "type": "bridge", "bridge": f"cni{number}", "isGateway": True, "ipMasq": False, "hairpinMode": True,
            "ipam": {"type": "host-local", "dataDir": str(self.data),
                     "ranges": [[{"subnet": f"10.99.{number}.0/24"}], [{"subnet": f"fd99:{number}::/64"}]],
                     "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
        chain = plugins or [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "spy"}]
        (self.configuration / name).write_text(json.dumps({"name": "pods", "cniVersion": version, "plugins": chain}))

    @property
    def leases(self) -> list[str]:
        directory = self.data / "pods"
        return sorted(name.name for name in directory.iterdir() if name.name[0].isalnum() and name.name != "lock"
                      and not name.name.startswith("last")) if directory.is_dir() else []

    def verdict(self, *lines: str) -> None:
        (self.programs / "verdict").write_text("".join(line + "\n" for line in lines))

    def calls(self) -> list[list[str]]:
        path = self.programs / "calls"
        return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []

    def last(self, command: str) -> dict:
        return json.loads((self.programs / f"last-{command}").read_text())

    def ready(self):
        (condition,) = (found for found in self.daemon.client.call("Status").status.conditions
                        if found.type == "NetworkReady")
        return condition


@pytest.fixture
def plugins(make_daemon, archives):
    daemon = make_daemon(start=False)
    plugins = Plugins(daemon)
    plugins.write()
    # The plugins' bridge has its IPv6 addresses at once, and not when the census is over.
    daemon.node.inside.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
    daemon.start().client.load(archives)
    # What plugins make once and keep: the bridge, iptables' chains.
    daemon.client.run_pod(port_mappings=[pb.PortMapping(host_port=18000, container_port=80)]).remove()
    (plugins.programs / "calls").unlink()
    daemon.rests()
    census = Census(daemon)
    before = census.take()
    yield plugins
    daemon.client.remove_all()
    assert plugins.leases == []
    if daemon.alive:
        census.settled(before)


def test_debians_chain_gives_pods_addresses_ports_and_each_other(plugins, programs, tmp_path):
    daemon = plugins.daemon
    cri = daemon.client
    server = cri.run_pod(port_mappings=[pb.PortMapping(host_port=18080, container_port=8080)])
    client = cri.run_pod()
    assert len({server.ip, client.ip}) == 2 and len(plugins.leases) == 4, plugins.leases
    assert server.ip.startswith("10.99.") and server.status().network.additional_ips[0].ip.startswith("fd99:")
    serve(server, "[::]:8080")
    container = client.run(SLEEPER)
    assert fetch(container, server.ip, 8080) == "page\n"
    assert fetch(container, server.status().network.additional_ips[0].ip, 8080) == "page\n"
    assert daemon.node.outside.fetch(daemon.node.ADDRESS, 18080).endswith("page\n")
    assert f"{client.ip}\t{client.config.hostname}" in container.shell("cat /etc/hosts")
    lo = [link for link in in_pod_json(daemon, client, "ip", "-j", "link") if link["ifname"] == "lo"]
    assert "UP" in lo[0]["flags"]
    command, interface, arguments = plugins.calls()[-1]
    assert (command, interface) == ("ADD", "eth0")
    assert f"K8S_POD_NAME={client.config.metadata.name}" in arguments and "IgnoreUnknown=1" in arguments
    assert f"K8S_POD_INFRA_CONTAINER_ID={client.id}" in arguments
    seen = plugins.last("ADD")
    assert seen["name"] == "pods" and "runtimeConfig" not in seen and seen["prevResult"]["ips"]
    swiftlet = Swiftlet(programs / "swiftlet", daemon, tmp_path)
    network = swiftlet.json("net")
    assert network["provider"] == "cni" and network["cni"]["plugins"] == ["bridge", "portmap", "spy"]
    one = swiftlet.json("net", client.id)
    assert one["ips"][0] == client.ip and one["drift"] == [] and one["attachMilliseconds"]["bridge"] > 0
    assert plugins.calls()[-1][0] == "CHECK"
    plugins.verdict("CHECK")
    assert "the fabric is down" in swiftlet.json("net", client.id)["drift"][0]
    plugins.verdict()


def test_attachments_survive_the_daemon_and_end_with_their_own_configuration(plugins):
    daemon = plugins.daemon
    pod, other = daemon.client.run_pod(), daemon.client.run_pod()
    address = pod.ip
    daemon.kill()
    daemon.start()
    assert pod.ip == address and pod.ready
    serve(pod, "8080")
    assert fetch(other.run(SLEEPER), address, 8080) == "page\n"
    plugins.write(plugins=[{"type": "spy"}])  # a network of another kind comes: DEL is still that of ADD
    pod.stop()
    assert address not in plugins.leases and other.ip in plugins.leases
    daemon.kill()
    # As after a crash between the effect and the record: nobody knows the sandbox, its attachment is remembered.
    for path in (daemon.root / "state.db", daemon.root / "state.db-wal", daemon.root / "state.db-shm"):
        path.unlink(missing_ok=True)
    Census(daemon).sweep()
    daemon.start()
    wait.until(lambda: not plugins.leases, "the end of what nobody has")
    wait.until(lambda: not list((daemon.state / "netns").iterdir()), "the end of its namespace's name")
    wait.until(lambda: not list((daemon.root / "cni").iterdir()), "the end of what was remembered of it")
    plugins.write()
    daemon.client.run_pod().remove()


def test_a_refused_add_leaves_nothing_and_says_why(plugins):
    cri = plugins.daemon.client
    plugins.verdict("ADD")
    refused = cri.refused("RunPodSandbox", config=cri.pod_config())
    assert refused.code == grpc.StatusCode.INTERNAL, refused
    for word in ('plugin "spy"', "ADD", 'network "pods"', "the fabric is down", "port 7", "code 11"):
        assert word in refused.text, refused.text
    assert cri.pods() == [] and plugins.leases == []
    assert [call[0] for call in plugins.calls()] == ["ADD", "DEL"]
    plugins.verdict()


def test_del_is_repeated_until_it_succeeds(plugins):
    cri = plugins.daemon.client
    pod = cri.run_pod()
    plugins.verdict("DEL")
    refused = cri.refused("StopPodSandbox", pod_sandbox_id=pod.id)
    assert "the fabric is down" in refused.text and 'DEL of network "pods"' in refused.text
    assert not pod.ready and cri.pods() != []
    assert plugins.leases == []  # the others were asked all the same
    plugins.verdict()
    pod.stop()
    assert [call[0] for call in plugins.calls()] == ["ADD", "DEL", "DEL"]
    assert plugins.last("DEL")["prevResult"]["ips"]


@pytest.mark.parametrize("text, reason, words", [
    (None, "NoCNIConfiguration", ["net.d"]),
    ("{ broken", "BadCNIConfiguration", ["10-pods.conflist", "JSON"]),
    (json.dumps({"name": "n", "cniVersion": "9.9.9", "plugins": [{"type": "spy"}]}), "BadCNIConfiguration", ["9.9.9"]),
    (json.dumps({"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "nowhere"}]}), "CNIPluginMissing",
     ["nowhere", DEBIAN]),
], ids=["none", "malformed", "later version", "no plugin"])
def test_without_a_usable_configuration_the_network_is_not_ready(plugins, text, reason, words):
    cri = plugins.daemon.client
    assert plugins.ready().status
    path = plugins.configuration / "10-pods.conflist"
    good = path.read_text()
    path.unlink() if text is None else path.write_text(text)
    condition = plugins.ready()
    assert not condition.status and condition.reason == reason
    refused = cri.refused("RunPodSandbox", config=cri.pod_config())
    assert refused.code == grpc.StatusCode.FAILED_PRECONDITION
    for word in words:
        assert word in condition.message and word in refused.text, (condition.message, refused.text)
    assert cri.pods() == []
    path.write_text(good)
    assert plugins.ready().status
    cri.run_pod()


def test_a_list_of_1_1_is_asked_for_its_status(plugins):
    plugins.write("05-status.conflist", "1.1.0", [{"type": "spy"}])
    plugins.verdict("STATUS")
    condition = plugins.ready()
    assert not condition.status and condition.reason == "CNIPluginNotReady"
    assert "the fabric is down" in condition.message
    (plugins.configuration / "05-status.conflist").unlink()
    plugins.verdict()
    assert plugins.ready().status


@pytest.mark.parametrize("sections, words", [
    ({"network": {"provider": "cni", "bridge": "x0"}}, ["network.bridge", "no effect"]),
    ({"network": {"provider": "weave"}}, ["network.provider", "weave", "bridge, cni"]),
    ({"network": {"provider": "bridge"}, "network.cni": {"conf_dir": "/etc/cni"}}, ["network.cni", "provider"]),
    ({"network": {"provider": "cni"}, "network.cni": {"conf_dir": "etc"}}, ["network.cni.conf_dir", "absolute"]),
    ({"network": {"provider": "cni"}, "network.cni": {"bin": []}}, ["network.cni.bin", "unknown"]),
], ids=["key of the bridge", "unknown provider", "table without provider", "relative path", "unknown key"])
def test_the_configuration_file(make_daemon, sections, words):
    daemon = make_daemon(start=False)
    daemon.config.write_text(toml(sections))
    code, output = daemon.run_to_end()
    assert code != 0
    for word in [*words, str(daemon.config)]:
        assert word in output, output
