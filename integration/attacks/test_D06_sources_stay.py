"""D06: owner, mode and label of a mount's source are not ours to change (CVE-2021-43816)."""

import pytest

from lib.cri import SLEEPER, security
from lib.stubs import pb


@pytest.mark.parametrize("more", [
    dict(selinux_relabel=True), dict(readonly=True, recursive_read_only=True, selinux_relabel=True),
    dict(mount_options=["noexec", "nosuid", "nodev"]),
])
def test_a_source_is_mounted_and_nothing_else(pod, canary, more):
    mounts = [pb.Mount(container_path=f"/{name}", host_path=str(canary.path / name), **more)
              for name in ("ro", "rw", "secret", "sock", "dev")]
    mounts.append(pb.Mount(container_path="/f", host_path=str(canary.path / "secret" / "file"), **more))
    context = security(run_as_user=pb.Int64Value(value=1000), supplemental_groups=[50])
    container = pod.run(SLEEPER, mounts=mounts, linux=context)
    assert container.shell("stat -c '%u %a' /rw /secret/file /f") == "0 755\n0 600\n0 600\n"
    # the canary fixture compares owners, modes, attributes and times on the host
