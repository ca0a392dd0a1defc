"""The images the tests and `make run` use, assembled from Debian's packages: busybox, and nginx with its libraries."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import subprocess

from . import debian, oci, tar

PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
alice:x:1000:1000:alice:/home/alice:/bin/sh
"""
GROUP = """root:x:0:
tty:x:5:
www-data:x:33:
nogroup:x:65534:
alice:x:1000:
games:x:1234:alice
staff:x:50:alice
"""
NGINX_LIBRARIES = ["libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"]
NGINX_CONF = """user www-data;
worker_processes 1;
error_log stderr notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  server {
    listen 80;
    listen [::]:80;
    root /usr/share/nginx/html;
    location = /client { default_type text/plain; return 200 "$remote_addr\\n"; }
  }
}
"""


def base_entries() -> list[tar.Entry]:
    """Directories and account files that both images share."""
    directories = "bin dev etc home proc root run sbin sys usr usr/bin usr/sbin var".split()
    return [tar.directory(d + "/") for d in directories] + [
        tar.directory("tmp/", mode=0o1777), tar.directory("home/alice/", uid=1000, gid=1000),
        tar.file("etc/passwd", PASSWD), tar.file("etc/group", GROUP),
        tar.file("etc/hosts", "127.0.0.1 image-own-hosts\n"), tar.file("etc/hostname", "image-own-hostname\n"),
    ]


@functools.cache
def busybox_layer() -> oci.Layer:
    """Debian's static busybox with a link for every applet."""
    binary = debian.program("busybox-static", "/bin/busybox")
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    entries = base_entries() + [tar.file("bin/busybox", binary.read_bytes(), mode=0o755)]
    entries += [tar.symlink("bin/" + name, "busybox") for name in sorted(applets) if name != "busybox"]
    return oci.Layer.of(*entries)


@functools.cache
def busybox() -> oci.Image:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return oci.Image([busybox_layer()], {"Cmd": ["sh"], "Env": [path]})


@functools.cache
def nginx() -> oci.Image:
    """Debian's nginx, its library closure, its stock page, and a configuration of ours that logs to stdout."""
    held: dict[str, pathlib.Path] = {}
    for package in ["nginx", "nginx-common", *NGINX_LIBRARIES]:
        held |= debian.files(package)
    binary = debian.program("nginx", "/usr/sbin/nginx")
    entries = base_entries()
    made = {entry.name for entry in entries}

    def add(path: str, data: bytes, mode: int) -> None:
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth]) + "/"
            if parent not in made:
                made.add(parent)
                entries.append(tar.directory(parent))
        entries.append(tar.file(path.strip("/"), data, mode))

    for name, source in sorted(library_closure(binary, held).items()):
        add(name, source.read_bytes(), 0o755)
    add("/usr/sbin/nginx", binary.read_bytes(), 0o755)
    add("/etc/nginx/mime.types", held["/etc/nginx/mime.types"].read_bytes(), 0o644)
    add("/etc/nginx/nginx.conf", NGINX_CONF.encode(), 0o644)
    add("/usr/share/nginx/html/index.html", held["/usr/share/nginx/html/index.html"].read_bytes(), 0o644)
    for path in ["var/log/", "var/log/nginx/", "var/lib/", "var/lib/nginx/"]:
        if path not in made:
            entries.append(tar.directory(path))
    return oci.Image([oci.Layer.of(*entries)], {
        "Entrypoint": ["/usr/sbin/nginx"], "Cmd": ["-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT", "WorkingDir": "/",
    })


def library_closure(binary: pathlib.Path, held: dict[str, pathlib.Path]) -> dict[str, pathlib.Path]:
    """The loader and every library `binary` needs, from the packages in `held`, by path in the image."""
    files, links = {}, {}
    for path, source in held.items():
        name = os.path.basename(path)
        if source.is_symlink():
            links.setdefault(name, os.path.basename(os.readlink(source)))
        elif ".so" in name:
            files[name] = source

    def library(name: str) -> pathlib.Path:
        return files.get(name) or files[links[name]]

    wanted, found = [binary], {"/lib64/ld-linux-x86-64.so.2": library("ld-linux-x86-64.so.2")}
    while wanted:
        for name in needed(wanted.pop()):
            path = "/lib/x86_64-linux-gnu/" + name
            if not name.startswith("ld-linux") and path not in found:
                found[path] = library(name)
                wanted.append(found[path])
    return found


def needed(binary: pathlib.Path) -> list[str]:
    """The DT_NEEDED names of an ELF file."""
    text = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.+)\]", text)


def main() -> None:
    """Writes the two archives of `make run`: python -m lib.images DIRECTORY."""
    import sys

    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, image in (("nginx", nginx()), ("busybox", busybox())):
        archive = oci.layout_archive({f"docker.io/library/{name}:latest": image})
        temporary = target / f".{name}.tar"
        temporary.write_bytes(archive)
        temporary.rename(target / f"{name}.tar")
        print(f"{target}/{name}.tar  {len(archive) >> 10} KiB  {image.id}")


if __name__ == "__main__":
    main()
