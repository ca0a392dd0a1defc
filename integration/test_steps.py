"""The last steps before a container's program or a command runs are few: issue 4 allows 60."""

from bench.steps import counted, last_steps
from lib import kubelet


def test_at_most_sixty_system_calls(pod):
    for name, calls in zip(("start", "exec"), counted(pod, linux=kubelet.ordinary())):
        assert 20 < len(last_steps(calls)) <= 60, (name, last_steps(calls))
