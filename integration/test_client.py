"""`swiftlet` against a live daemon: the newcomer's commands, data on stdout, errors with their exit status."""

import json
import os

import pytest

from lib import images, oci, wait
from lib.swiftlet import Swiftlet

# `exec` is a session with the streaming server.
pytestmark = pytest.mark.usefixtures("listening")

MANIFEST = """apiVersion: v1
kind: Pod
metadata:
  name: two
  labels:
    app: demo
spec:
  restartPolicy: Always
  containers:
  - name: server
    image: busybox
    command: ["sh", "-c"]
    args: ["echo $GREETING > /data/hello; echo started; exec httpd -f -p 127.0.0.1:5678 -h /data"]
    env:
    - name: GREETING
      value: hi from the manifest
    volumeMounts:
    - name: data
      mountPath: /data
    resources:
      limits:
        memory: 32Mi
        cpu: 500m
    securityContext:
      readOnlyRootFilesystem: true
  - name: sleeper
    image: busybox
    args: ["sleep", "100000"]
    volumeMounts:
    - name: data
      mountPath: /data
      readOnly: true
  volumes:
  - name: data
    emptyDir: {}
"""


@pytest.fixture
def swiftlet(programs, daemon, tmp_path):
    return Swiftlet(programs / "swiftlet", daemon, tmp_path)


def test_version_and_info(swiftlet):
    assert "swiftlet" in swiftlet("version")
    text = swiftlet("info")
    assert "RuntimeReady" in text or "Runtime" in text
    assert swiftlet.json("version")


def test_doctor_says_what_it_checked(swiftlet):
    done = swiftlet.run("doctor")
    assert done.returncode in (0, 1)
    assert "cgroup" in done.stdout


def test_play_and_down(swiftlet, cri, tmp_path):
    swiftlet.play(MANIFEST)
    (pod,) = swiftlet.json("pods")
    assert (pod["name"], pod["namespace"], pod["state"]) == ("two", "default", "Ready")
    assert {container["name"] for container in pod["containers"]} == {"server", "sleeper"}
    wait.until(lambda: "started" in swiftlet("logs", "two/server"), "the server's first line")
    # Which it says before it listens.
    pages = []
    wait.until(lambda: pages.append(swiftlet.run(
        "exec", "two/sleeper", "--", "wget", "-q", "-O", "-", "http://127.0.0.1:5678/hello")) or
        pages[-1].returncode == 0, "the page")
    assert pages[-1].stdout == "hi from the manifest\n"
    assert swiftlet.run("exec", "two/sleeper", "--", "touch", "/data/x").returncode == 1
    assert swiftlet.run("exec", "two/server", "--", "touch", "/x").returncode == 1
    assert len(swiftlet.json("ps")) == 2
    swiftlet.play(MANIFEST)  # again: nothing changes
    assert [found["id"] for found in swiftlet.json("pods")] == [pod["id"]]
    swiftlet("down", str(tmp_path / "pod.yaml"), "-t", "0")
    assert swiftlet.json("pods") == [] and not cri.pods()
    assert not list((tmp_path / "volumes").rglob("hello"))


def test_play_notes_that_nobody_restarts(swiftlet, tmp_path):
    (tmp_path / "pod.yaml").write_text(MANIFEST)
    done = swiftlet.run("play", str(tmp_path / "pod.yaml"), "--log-root", str(tmp_path / "l"), "--volume-root",
                        str(tmp_path / "v"))
    assert done.returncode == 0 and "restart" in done.stderr, done.stderr


def test_the_seeds_manifest_is_accepted_with_a_warning(swiftlet, cri, daemon):
    from lib.stubs import REPOSITORY

    cri.load(oci.layout_archive({"docker.io/library/nginx:latest": images.nginx()}))
    path = REPOSITORY / "integration" / "manifests" / "nginx-pausetest.yaml"
    done = swiftlet.run("play", str(path), "--log-root", str(swiftlet.directory / "logs"), "--volume-root",
                        str(swiftlet.directory / "volumes"))
    assert done.returncode == 0, done.stderr
    assert "nginx:1.21" in done.stderr and "webserver" in done.stderr
    (pod,) = swiftlet.json("pods")
    page = wait.until(lambda: fetch(daemon, pod["ip"]), "the page")
    assert "Welcome to nginx" in page
    cri.remove_all()
    cri.remove_image("nginx")


def fetch(daemon, address: str) -> str:
    try:
        return daemon.node.inside.fetch(address, 80)
    except OSError:
        return ""


@pytest.mark.parametrize("change, words", [
    (("image: busybox\n    command", "imgae: busybox\n    command"), ["imgae", ":11:"]),
    (("emptyDir: {}", "nfs: {server: x, path: /}"), ["nfs"]),
    (("kind: Pod", "kind: Deployment"), ["Deployment"]),
    (("memory: 32Mi", "memory: much"), ["much"]),
    (("  name: two", "  nmae: two"), ["nmae"]),
], ids=["unknown field", "unknown volume", "other kind", "bad quantity", "no name"])
def test_a_manifest_with_a_mistake_is_refused_with_its_place(swiftlet, cri, tmp_path, change, words):
    (tmp_path / "pod.yaml").write_text(MANIFEST.replace(*change))
    text = swiftlet.run("play", str(tmp_path / "pod.yaml"))
    assert text.returncode != 0
    for word in words:
        assert word in text.stderr, text.stderr
    assert not cri.pods()


def test_run_logs_stop_rm(swiftlet):
    id = swiftlet("run", "busybox", "--name", "once", "--", "sh", "-c", "echo hello; sleep 100000").strip()
    assert len(id) == 64
    wait.until(lambda: swiftlet("logs", "once") == "hello\n", "the line")
    swiftlet("stop", "once", "-t", "0")
    assert swiftlet.json("ps") == []
    swiftlet("rm", "once")
    assert swiftlet.json("pods") == []


def test_logs_follow_to_the_end(swiftlet):
    swiftlet("run", "busybox", "--name", "counting", "--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    assert swiftlet("logs", "-f", "counting") == "1\n2\n3\n"


def test_exec_passes_the_exit_status_on(swiftlet, pod):
    container = pod.run(["sleep", "100000"])
    done = swiftlet.run("exec", container.id, "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_images(swiftlet, cri, tmp_path):
    image = images.busybox().with_config(Labels={"x": "client"})
    (tmp_path / "image.tar").write_bytes(oci.layout_archive({"example.com/client:v1": image}))
    swiftlet("load", str(tmp_path / "image.tar"))
    assert "example.com/client" in swiftlet("images")
    assert image.id in json.dumps(swiftlet.json("inspect", "example.com/client:v1"))
    swiftlet("rmi", "example.com/client:v1")
    assert "example.com/client" not in swiftlet("images")


def test_pull(swiftlet, cri, registry, private_registry):
    image = images.busybox().with_config(Labels={"x": "client pull"})
    swiftlet("pull", registry.push("client", "v1", image))
    user, password = private_registry.credentials
    other = images.busybox().with_config(Labels={"x": "client private"})
    swiftlet("pull", private_registry.push("client", "v1", other), "--creds", f"{user}:{password}")
    for found in (image, other):
        assert cri.image_status(found.id)
        cri.remove_image(found.id)


def test_inspect_shows_pause_and_address(swiftlet, pod):
    text = json.dumps(swiftlet.json("inspect", pod.id))
    assert pod.ip in text and str(pod.info()["pid"]) in text


@pytest.mark.parametrize("code, arguments", [
    (3, ["logs", "nobody"]), (3, ["inspect", "nobody"]), (3, ["exec", "nobody", "--", "true"]),
    (3, ["play", "/no/such/file.yaml"]), (2, ["no-such-command"]), (2, ["logs"]), (2, ["pods", "--no-such-flag"]),
])
def test_errors_have_their_exit_status(swiftlet, code, arguments):
    text = swiftlet.refused(code, *arguments)
    assert "Error Domain" not in text and "RPCError" not in text


def test_a_runtime_that_is_not_there(swiftlet, tmp_path):
    text = swiftlet.refused(5, "--socket", str(tmp_path / "no.sock"), "pods")
    assert str(tmp_path / "no.sock") in text


def test_the_socket_comes_from_the_environment(swiftlet, daemon):
    del swiftlet.environment["SWIFTLET_SOCKET"]
    swiftlet.environment["CONTAINER_RUNTIME_ENDPOINT"] = f"unix://{daemon.socket}"
    assert swiftlet.json("pods") == []


@pytest.mark.parametrize("format", ["json", "yaml", "table"])
@pytest.mark.parametrize("command", ["pods", "ps", "images", "version", "info"])
def test_formats(swiftlet, pod, command, format):
    text = swiftlet(command, "-o", format)
    if format == "json":
        json.loads(text)
    assert text.strip()
