"""D13: annotations and labels of pods, containers and images select no behaviour (CVE-2026-94603, CVE-2023-6476).

The exceptions are two of a pod's annotations (bandwidth), one of its labels (isolation group) and a container's
cdi.k8s.io/ ones: test_bandwidth.py, test_network.py and test_cdi.py have them. Keys that only resemble these are below.
"""

import pytest

from lib import kubelet
from lib.annotations import KEYS
from lib.cri import SLEEPER
from lib.records import specification


@pytest.mark.parametrize("where", ["pod", "container", "both, one by one"])
def test_the_specification_is_the_same(cri, daemon, where):
    def spec(annotations: dict, labels: dict, **fields) -> dict:
        more = dict(annotations=annotations, labels=labels)
        pod = cri.run_pod(cri.pod_config("same", **(more if where != "container" else {})))
        config = pod.container_config(
            SLEEPER, linux=kubelet.ordinary(**fields), **(more if where != "pod" else {}))
        config.log_path = ""
        found = specification(daemon, pod.create(config=config).id)
        pod.stop()
        pod.remove()
        return found

    plain = spec({}, {})
    assert len(plain["startRequest"]) > 1000 and not plain["isPrivileged"]
    chosen = [KEYS] if where != "both, one by one" else [{key: KEYS[key]} for key in list(KEYS)[::12]]
    assert len(KEYS) >= 60
    for keys in chosen:
        assert spec(keys, {}) == plain, keys
        assert spec({}, keys) == plain, keys
    # The control: what a field asks for does change it.
    assert spec({}, {}, no_new_privs=True) != plain
