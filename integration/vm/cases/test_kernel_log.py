"""What the kernel's log gets of containers: on a node with many it is for what went wrong."""

import contextlib
import os

from lib import oci, tar
from lib.cri import SLEEPER


@contextlib.contextmanager
def kernel_log():
    """Gives a function that lists the kernel's lines meanwhile, as dmesg has them."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(fd, 0, os.SEEK_END)

    def lines() -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(os.read(fd, 8192).decode(errors="replace").partition(";")[2].partition("\n")[0])
        return found

    try:
        yield lines
    finally:
        os.close(fd)


def test_no_line_says_that_an_option_is_unknown(pod, image):
    """Linux before 6.5 has a line for each option of an overlay that it does not know; what we would like is one."""
    with kernel_log() as lines:
        with open("/dev/kmsg", "w") as log:
            log.write("<4>overlayfs: this case\n")  # what is looked for would be seen
        # The daemon looks into the layers, and the shim makes the container's root of them.
        above = image(oci.Layer.of(tar.file("above", b"")))
        code = pod.run(SLEEPER, image=above).execute("test", "-e", "/above").exit_code
        found = [line for line in lines() if "overlay" in line]
    assert (code, found) == (0, ["overlayfs: this case"])
