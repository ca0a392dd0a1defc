"""L10: /dev/console of the image as a link makes no file on the host (CVE-2026-88264).

Without terminals there is no /dev/console of ours; what the image has there is hidden by our /dev.
"""

import pytest

from lib import oci, tar
from lib.cri import SLEEPER


@pytest.mark.parametrize("up", ["", "../../../../.."])
def test_no_file_appears(pod, image, canary, up):
    new = f"{up}{canary.path}/rw/new"
    name = image(oci.Layer.of(tar.symlink("dev/console", new), tar.symlink("dev/tty", new)))
    container = pod.run(SLEEPER, image=name)
    assert container.execute("ls", "-l", "/dev/console").exit_code != 0
    assert container.shell("stat -c '%t:%T %F' /dev/tty") == "5:0 character special file\n"
    container.execute("sh", "-c", "echo x > /dev/console")
    assert not (canary.path / "rw" / "new").exists()


def test_a_terminal_is_refused_by_name(pod):
    refused = pod.create_refused(["true"], tty=True)
    assert refused.text.startswith("tty"), refused.text
