"""H5: an ordinary container's whole report, as kubelet asks for it, is the one in prober.golden.json.

`SWIFTLET_GOLDEN=write` writes what is found; a reviewer then looks at the difference. A text with ` or ` holds
alternatives: calls that are younger than Linux 6.1, or that a kernel need not have."""

import json
import os
import pathlib

from lib import kubelet, prober

GOLDEN = pathlib.Path(__file__).with_name("prober.golden.json")
# What other kernels answer.
OTHERWISE = {
    "calls/cachestat": "EBADF or ENOSYS", "calls/fchmodat2": "ENOENT or ENOSYS", "calls/mseal": "EINVAL or ENOSYS",
    "calls/landlock_restrict_self": "EPERM or ENOSYS or EOPNOTSUPP", "calls/x32 getpid": "ENOSYS or ok",
    "calls/socket packet": "ok or EAFNOSUPPORT", "calls/socket inet6": "ok or EAFNOSUPPORT",
    "process/security module": "EINVAL or unconfined or unconfined (unconfined)",
    "calls/get_mempolicy": "EPERM", "calls/futex": "ENOSYS",
}


def test_an_ordinary_container(daemon, pod):
    report = prober.by_create(pod, linux=kubelet.ordinary())
    found = prober.normalised(report, pod, daemon)
    if os.environ.get("SWIFTLET_GOLDEN") == "write":
        written = json.loads(json.dumps(found))
        for path, text in OTHERWISE.items():
            section, key = path.split("/", 1)
            assert written[section][key] in text.split(" or "), path
            written[section][key] = text
        GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
    assert len(found["calls"]) >= 120
    assert prober.differences(json.loads(GOLDEN.read_text()), found) == []
