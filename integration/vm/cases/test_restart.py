"""What the kernel holds for a container on cgroup v2 outlives the daemon, and goes with the container."""

import grpc

from lib import wait
from lib.cri import SLEEPER, resources
from lib.stubs import pb
from vm.cases.kernel import counts, device_programs, group, programs, read

MIB = 1 << 20
HOG = "while [ ! -e /tmp/go ]; do usleep 5000; done; exec dd if=/dev/zero of=/dev/null bs=64M"
DISK = "mknod /tmp/disk b 254 0; dd if=/tmp/disk of=/dev/null bs=512 count=1"
LIMITS = {"memory_limit_in_bytes": 20 * MIB, "cpu_quota": 20000, "cpu_period": 50000, "cpu_shares": 512,
          "unified": {"memory.high": str(18 * MIB), "pids.max": "77"}}
FILES = {"memory.max": str(20 * MIB), "memory.swap.max": "0", "cpu.max": "20000 50000", "cpu.weight": "59",
         "memory.high": str(18 * MIB), "pids.max": "77"}


def test_a_container_of_an_earlier_daemon(victim, census):
    cri = victim.client
    before = programs()
    pod = cri.run_pod()
    container = pod.run(SLEEPER, linux=resources(**LIMITS))
    hog = pod.run(["sh", "-c", HOG], name="hog", linux=resources(memory_limit_in_bytes=20 * MIB))
    (program,) = device_programs(group(container))
    victim.kill()
    assert read(group(container), *FILES) == FILES and device_programs(group(container)) == [program]
    victim.start()
    assert read(group(container), *FILES) == FILES and device_programs(group(container)) == [program]
    answer = container.execute("sh", "-c", DISK)
    assert answer.exit_code != 0 and b"not permitted" in answer.stderr
    assert container.shell("grep -c ^0::/exec- /proc/self/cgroup") == "1\n"
    # The quota alone: the period is the earlier daemon's.
    cri.call("UpdateContainerResources", container_id=container.id, linux=pb.LinuxContainerResources(
        cpu_quota=30000, memory_limit_in_bytes=24 * MIB, unified={"pids.max": "78"}))
    changed = {"cpu.max": "30000 50000", "memory.max": str(24 * MIB), "memory.swap.max": "0", "pids.max": "78"}
    assert read(group(container), *FILES) == {**FILES, **changed}
    assert device_programs(group(container)) == [program]
    hog.shell("touch /tmp/go")
    assert (hog.wait().exit_code, hog.status().reason) == (137, "OOMKilled")
    refused = cri.refused("ExecSync", timeout=60, request=pb.ExecSyncRequest(
        container_id=container.id, cmd=["sh", "-c", "(setsid sleep 1000 &); sleep 1000"], timeout=1))
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED
    wait.until(lambda: not list(group(container).glob("exec-*")), "end of the command's group")
    assert counts(group(container), "pids.events")["max"] == 0
    directory = group(container)
    pod.remove()
    assert not directory.exists()
    wait.until(lambda: not programs() - before, "end of the groups' programs")
