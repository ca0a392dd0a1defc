"""L26: what kubelet asks to mask is masked, powercap and the processors' thermal_throttle too (GHSA-7ww5-4wqc-m92c)."""

import pathlib

from lib import kubelet, prober

# runc's and containerd's defaults; kubelet must not ask for less.
DEFAULTS = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/proc/interrupts", "/sys/firmware",
            "/sys/devices/virtual/powercap"}


def test_every_path_reads_as_nothing(pod):
    assert DEFAULTS == set(kubelet.MASKED)
    paths = kubelet.masked()
    report = prober.by_create(pod, linux=kubelet.ordinary())
    wrong = {path: report["reads"][path] for path in kubelet.MASKED
             if report["reads"][path] not in ("empty", "empty directory", "ENOENT")}
    assert not wrong
    covered = prober.covered(report["mounts"])
    for path in paths:
        if not pathlib.Path(path).exists():
            continue
        kind, flags = covered[path]
        assert "ro" in flags if pathlib.Path(path).is_dir() else kind != "proc", (path, kind, flags)
    for path in kubelet.READONLY:
        if pathlib.Path(path).exists():
            assert {"ro", "nosuid", "nodev", "noexec"} <= covered[path][1], (path, covered[path])
    assert set(report["writes"].items()) >= {("/proc/sys/kernel/core_pattern", "EROFS"), ("/dev/null", "ok")}


def test_the_control_without_masks(pod):
    """Else the test above would pass where the kernel has nothing to hide."""
    report = prober.by_create(pod, linux=kubelet.ordinary(masked_paths=[], readonly_paths=[]))
    assert "content" in {report["reads"][path] for path in ("/proc/interrupts", "/proc/keys", "/proc/timer_list")}
    assert not prober.covered(report["mounts"]).keys() & set(kubelet.MASKED + kubelet.READONLY)
