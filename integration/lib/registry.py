"""Registries on a node's loopback: Debian's docker-registry, and one that does whatever a case wants to go wrong."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import urllib.parse

from . import debian, oci, wait
from .netns import Namespace


class Registry:
    """docker-registry in a namespace, with or without basic auth; filled by pushing over HTTP."""

    def __init__(self, space: Namespace, directory: pathlib.Path, port: int, user: str = "", password: str = ""):
        self.space, self.port, self.name = space, port, f"127.0.0.1:{port}"
        self.credentials = (user, password)
        directory.mkdir(parents=True)
        config = {
            "version": 0.1, "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.name},
        }
        if user:
            import bcrypt

            secret = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
            (directory / "htpasswd").write_text(f"{user}:{secret}\n")
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
        (directory / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        program = debian.program("docker-registry", "/usr/bin/docker-registry")
        with open(directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                space.command(str(program), "serve", str(directory / "config.yml")), stdout=log, stderr=log)
        wait.until(self.answers, f"docker-registry on {self.name}")

    def answers(self) -> bool:
        try:
            return self.request("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: bytes | None = None, **headers) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.sock = self.space.connect("127.0.0.1", self.port, timeout=60)
        if self.credentials[0]:
            token = base64.b64encode(":".join(self.credentials).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def push(self, repository: str, tag: str, image: oci.Image | oci.Index) -> str:
        """Puts an image or an index under `repository:tag`; returns the reference to pull."""
        images = image.images if isinstance(image, oci.Index) else [image]
        for one in images:
            for key, blob in one.blobs().items():
                self.push_blob(repository, key, blob)
            if isinstance(image, oci.Index):
                self.push_manifest(repository, one.digest, one.manifest, oci.MANIFEST)
        kind = oci.INDEX if isinstance(image, oci.Index) else oci.MANIFEST
        self.push_manifest(repository, tag, image.manifest, kind)
        return f"{self.name}/{repository}:{tag}"

    def push_blob(self, repository: str, digest: str, blob: bytes) -> None:
        if self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, (status, body)
        location = urllib.parse.urlsplit(headers["Location"])
        target = f"{location.path}?{location.query}&digest={urllib.parse.quote(digest)}"
        status, _, body = self.request("PUT", target, blob, Content_Type="application/octet-stream")
        assert status == 201, (status, body)

    def push_manifest(self, repository: str, reference: str, manifest: bytes, kind: str) -> None:
        status, _, body = self.request("PUT", f"/v2/{repository}/manifests/{reference}", manifest, Content_Type=kind)
        assert status == 201, (status, body)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


class HostileRegistry:
    """Serves one image under every name, with one thing wrong.

    Faults: `mismatch` (layer bytes differ from their digest), `truncated` (connection ends in the middle of a layer),
    `slow` (a byte, then nothing until closed), `unauthorized` (401 for ever), `silent` (accepts, never answers),
    `error` (500 for ever), `manifest` (is not what its digest says), `redirect` (blobs redirect to themselves).
    """

    def __init__(self, space: Namespace, image: oci.Image, fault: str):
        self.image, self.fault = image, fault
        self.requests: list[str] = []
        self.closing = threading.Event()
        self.connections: list = []
        listener = space.listen()
        self.name = "127.0.0.1:%d" % listener.getsockname()[1]
        registry = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                registry.connections.append(self.connection)

            def log_message(self, *arguments) -> None:
                pass

            def do_HEAD(self) -> None:
                registry.answer(self, head=True)

            def do_GET(self) -> None:
                registry.answer(self, head=False)

            def do_POST(self) -> None:
                registry.answer(self, head=False)

        self.server = http.server.ThreadingHTTPServer(("", 0), Answer, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = listener
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def reference(self) -> str:
        return f"{self.name}/hostile:latest"

    def answer(self, to: http.server.BaseHTTPRequestHandler, head: bool) -> None:
        self.requests.append(f"{to.command} {to.path}")
        path = to.path
        if self.fault == "silent":
            self.closing.wait()
            to.close_connection = True
        elif self.fault == "unauthorized":
            self.send(to, 401, b"{}", head, WWW_Authenticate=f'Bearer realm="http://{self.name}/token",service="x"')
        elif self.fault == "error":
            self.send(to, 500, b"{}", head)
        elif "/manifests/" in path:
            manifest = self.image.manifest
            claimed = self.image.digest
            body = manifest.replace(b'"schemaVersion":2', b'"schemaVersion":2,"x":1') \
                if self.fault == "manifest" else manifest
            self.send(to, 200, body, head, Content_Type=oci.MANIFEST, Docker_Content_Digest=claimed)
        elif "/blobs/" in path:
            self.blob(to, path.rpartition("/")[2], head)
        elif path.startswith("/v2"):
            self.send(to, 200, b"{}", head)
        else:
            self.send(to, 404, b"{}", head)

    def blob(self, to: http.server.BaseHTTPRequestHandler, digest: str, head: bool) -> None:
        blob = self.image.blobs().get(digest)
        is_layer = any(layer.digest == digest for layer in self.image.layers)
        if blob is None:
            self.send(to, 404, b"{}", head)
        elif self.fault == "redirect":
            self.send(to, 307, b"", head, Location=to.path)
        elif not is_layer or head or self.fault in ("", "manifest"):
            self.send(to, 200, blob, head)
        elif self.fault == "mismatch":
            self.send(to, 200, blob[:-1] + bytes([blob[-1] ^ 1]), head)
        else:  # truncated, slow
            to.send_response(200)
            to.send_header("Content-Length", str(len(blob)))
            to.end_headers()
            to.wfile.write(blob[:len(blob) // 2] if self.fault == "truncated" else blob[:1])
            to.wfile.flush()
            if self.fault == "slow":
                self.closing.wait()
            to.close_connection = True

    @staticmethod
    def send(to: http.server.BaseHTTPRequestHandler, code: int, body: bytes, head: bool, **headers) -> None:
        to.send_response(code)
        to.send_header("Content-Length", str(len(body)))
        for key, value in headers.items():
            to.send_header(key.replace("_", "-"), value)
        to.end_headers()
        if not head:
            to.wfile.write(body)

    def close(self) -> None:
        self.closing.set()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server.shutdown()
        self.server.server_close()
