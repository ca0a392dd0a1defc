"""L10: /dev/console of the image as a link makes no file on the host (CVE-2026-88264), with a terminal and without.

What the image has in /dev is hidden by our /dev. Only with a terminal there is a /dev/console, which is that terminal.
"""

import pytest

from lib import oci, tar
from lib.cri import SLEEPER


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize("up", ["", "../../../../.."])
def test_no_file_appears(pod, image, canary, up, tty):
    new = f"{up}{canary.path}/rw/new"
    name = image(oci.Layer.of(tar.symlink("dev/console", new), tar.symlink("dev/tty", new)))
    container = pod.run(SLEEPER, image=name, tty=tty)
    assert container.shell("stat -c '%t:%T %F' /dev/tty") == "5:0 character special file\n"
    if tty:
        assert container.shell("stat -c '%t:%T %F' /dev/console") == "88:0 character special file\n"
    else:
        assert container.execute("ls", "-l", "/dev/console").exit_code != 0
    container.execute("sh", "-c", "echo x > /dev/console")
    assert not (canary.path / "rw" / "new").exists()
