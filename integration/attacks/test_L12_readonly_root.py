"""L12: a read-only root stays read-only, whatever the image has at /proc/self/fd (CVE-2026-115521)."""

import pytest

from lib import oci, tar
from lib.cri import SLEEPER, security


@pytest.mark.parametrize("forged", [
    [tar.directory("proc/self/fd/"), *(tar.symlink(f"proc/self/fd/{number}", "/tmp") for number in range(64))],
    [tar.symlink("proc/self", "/tmp")], [tar.directory("proc/self/"), tar.symlink("proc/self/fd", "/")],
])
def test_nothing_of_the_root_can_be_written(pod, image, forged):
    container = pod.run(SLEEPER, image=image(oci.Layer.of(*forged)), linux=security(readonly_rootfs=True))
    for path in ("/x", "/tmp/x", "/etc/passwd", "/proc/../x", "/dev/../bin/x"):
        answer = container.execute("touch", path)
        assert answer.exit_code == 1 and b"Read-only file system" in answer.stderr, path
    assert container.execute("mount", "-o", "remount,rw", "/").exit_code != 0
    (line,) = [line for line in container.shell("cat /proc/self/mountinfo").splitlines() if line.split()[4] == "/"]
    assert "ro" in line.split()[5].split(",")
