"""L33: no key of the daemon's reaches a container, and none of one reaches another.

Signals, session, umask: `shim/test_child_process.py`. Seen to fail without the session keyring of its own."""

import subprocess

from lib.cri import SLEEPER, security
from lib.programs import program
from lib.stubs import pb

UNCONFINED = pb.SecurityProfile(profile_type=pb.SecurityProfile.Unconfined)


def test_every_process_has_a_session_keyring_of_its_own(cri):
    """The first process and a command of each of two containers; keyctl itself is what seccomp would refuse."""
    found = []
    for _ in range(2):
        container = cri.run_pod().run(SLEEPER, linux=security(seccomp=UNCONFINED), mounts=[
            pb.Mount(container_path="/keyring", host_path=str(program("keyring")), readonly=True)])
        found.append(container.execute("/keyring").stdout.decode().strip())
        first = container.pod.output(["/keyring"], linux=security(seccomp=UNCONFINED), mounts=[
            pb.Mount(container_path="/keyring", host_path=str(program("keyring")), readonly=True)])
        found.append(first.strip())
    found.append(subprocess.run([program("keyring")], check=True, capture_output=True, text=True).stdout.strip())
    assert all(serial.isdigit() for serial in found) and len(set(found)) == 5, found
