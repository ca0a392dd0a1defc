"""Images assembled from layers, deterministic: OCI layout archives, `docker save` archives, blobs for a registry."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import hashlib
import json

from . import tar

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical(value) -> bytes:
    """JSON with sorted keys and no spaces: the same value gives the same digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclasses.dataclass
class Layer:
    """One layer: its tar, and the blob that is stored."""

    content: bytes
    compressed: bool = True

    @classmethod
    def of(cls, *entries: tar.Entry, compressed: bool = True) -> Layer:
        return cls(tar.archive(list(entries)), compressed)

    def __post_init__(self) -> None:
        self.diff_id = digest(self.content)
        self.blob = gzip.compress(self.content, compresslevel=1, mtime=0) if self.compressed else self.content
        self.digest = digest(self.blob)
        self.media_type = LAYER + ("+gzip" if self.compressed else "")

    def descriptor(self) -> dict:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.blob)}


class Image:
    """A configuration and its layers, lowest first."""

    def __init__(self, layers: list[Layer], config: dict | None = None, architecture: str = "amd64", os: str = "linux"):
        self.layers = layers
        self.architecture, self.os = architecture, os
        self.config = {
            "architecture": architecture, "os": os, "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }

    def with_config(self, **changes) -> Image:
        """The same layers under another configuration."""
        image = copy.copy(self)
        image.config = dict(self.config, config={**self.config["config"], **changes})
        return image

    def with_layers(self, *layers: Layer) -> Image:
        """This image with further layers on top."""
        return Image(self.layers + list(layers), self.config["config"], self.architecture, self.os)

    @property
    def config_blob(self) -> bytes:
        return canonical(self.config)

    @property
    def id(self) -> str:
        return digest(self.config_blob)

    @property
    def manifest(self) -> bytes:
        return canonical({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.id, "size": len(self.config_blob)},
            "layers": [layer.descriptor() for layer in self.layers],
        })

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    def descriptor(self) -> dict:
        return {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.manifest),
                "platform": {"architecture": self.architecture, "os": self.os}}

    def blobs(self) -> dict[str, bytes]:
        """Everything below the manifest, by digest."""
        return {self.id: self.config_blob, **{layer.digest: layer.blob for layer in self.layers}}


class Index:
    """Several images, one per platform, under one name."""

    def __init__(self, *images: Image):
        self.images = images

    @property
    def manifest(self) -> bytes:
        return canonical({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [image.descriptor() for image in self.images]})

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    def descriptor(self) -> dict:
        return {"mediaType": INDEX, "digest": self.digest, "size": len(self.manifest)}

    def blobs(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for image in self.images:
            found |= image.blobs() | {image.digest: image.manifest}
        return found


def layout_archive(named: dict[str, Image | Index]) -> bytes:
    """An OCI image layout as a tar; each name becomes `org.opencontainers.image.ref.name`."""
    blobs: dict[str, bytes] = {}
    manifests = []
    for name, image in named.items():
        blobs |= image.blobs() | {image.digest: image.manifest}
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        manifests.append({**image.descriptor(), "annotations": annotations})
    entries = [
        tar.file("oci-layout", canonical({"imageLayoutVersion": "1.0.0"})),
        tar.file("index.json", canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})),
        tar.directory("blobs/"), tar.directory("blobs/sha256/"),
    ]
    entries += [tar.file("blobs/sha256/" + key.removeprefix("sha256:"), blobs[key]) for key in sorted(blobs)]
    return tar.archive(entries)


def docker_archive(named: dict[str, Image]) -> bytes:
    """What `docker save` writes: manifest.json, one JSON per configuration, one plain layer.tar per layer."""
    files: dict[str, bytes] = {}
    manifest = []
    for name, image in named.items():
        config = image.id.removeprefix("sha256:") + ".json"
        files[config] = image.config_blob
        paths = []
        for layer in image.layers:
            paths.append(layer.diff_id.removeprefix("sha256:") + "/layer.tar")
            files[paths[-1]] = layer.content
        manifest.append({"Config": config, "RepoTags": [name], "Layers": paths})
    files["manifest.json"] = canonical(manifest)
    return tar.archive([tar.file(path, files[path]) for path in sorted(files)])
