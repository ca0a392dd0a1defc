"""grpcio stubs generated from proto/ when they are missing or older than it: a client that shares no code with ours."""

from __future__ import annotations

import hashlib
import importlib
import os
import pathlib
import shutil
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROTO = REPOSITORY / "proto"
GENERATED = REPOSITORY / "integration" / "generated"


def generate() -> pathlib.Path:
    """The directory of the generated modules. Safe against other test runs beside this one."""
    import google.protobuf
    from grpc_tools import protoc

    sources = sorted(PROTO.glob("cri/*.proto")) + [PROTO / "swiftlet.proto"]
    state = hashlib.sha256(google.protobuf.__version__.encode())
    for source in sources:
        state.update(source.name.encode() + source.read_bytes())
    target = GENERATED / state.hexdigest()[:16]
    if target.exists():
        return target
    GENERATED.mkdir(exist_ok=True)
    scratch = tempfile.mkdtemp(dir=GENERATED)
    code = protoc.main([
        "protoc", f"-I{PROTO}", f"--python_out={scratch}", f"--grpc_python_out={scratch}",
        *(str(source.relative_to(PROTO)) for source in sources)])
    if code:
        raise RuntimeError(f"protoc failed on {PROTO}")
    try:
        os.rename(scratch, target)
    except OSError:  # another run was first
        shutil.rmtree(scratch)
    return target


class Messages:
    """Every message and enum of runtime.v1 under one name, in whichever file it is declared."""

    def __init__(self) -> None:
        sys.path.insert(0, str(generate()))
        names = [path.stem for path in PROTO.glob("cri/*.proto")]
        self._modules = [importlib.import_module(f"cri.{name}_pb2") for name in names]

    def __getattr__(self, name: str):
        for module in self._modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"runtime.v1 has no {name}")


pb = Messages()
services = importlib.import_module("cri.runtime_pb2_grpc")
descriptor = importlib.import_module("cri.runtime_pb2").DESCRIPTOR
swiftlet = importlib.import_module("swiftlet_pb2")
swiftlet_services = importlib.import_module("swiftlet_pb2_grpc")
