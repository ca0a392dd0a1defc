"""Which cases run in the machine: those of v2 alone, and of the others what hangs most on cgroups and on the kernel."""

from __future__ import annotations

FILES = """
vm/cases
test_cgroups.py
test_resources.py
test_updates.py
test_stats.py
test_stop.py
test_exits.py
test_exec.py
test_devices.py
test_userns.py
test_image_volumes.py
test_image_declared_volumes.py
shim/test_shim_containers.py
attacks/test_L17_cgroup_view.py
attacks/test_L18_release_agent.py
attacks/test_L18_user_namespace.py
attacks/test_S03_shim_loss.py::test_a_killed_shim_takes_its_pod_along_and_nothing_else
""".split()

# Cases of these files that ask how long something took, which an emulated machine cannot promise, or take long there.
LEFT_OUT = """
test_a_process_that_ends_at_once_has_still_started
test_the_last_output_is_in_the_log_when_the_end_is_told
test_many_commands_at_once
test_the_limit_of_processes_is_the_configurations
test_a_limit_of_processes_that_is_none
test_the_client_shows_it
test_a_child_that_keeps_the_output_open_does_not_hold_the_answer_for_ever
test_much_output_is_cut_and_the_command_goes_on
test_shared_pid_namespace_leaves_nothing_behind
test_stop_sandbox_ends_all
test_output_held_open_by_a_stranger
test_ownership_from_the_security_context
""".split()


def command(arguments: list[str]) -> list[str]:
    """What the machine runs in the directory `integration`: pytest with these arguments, or with all cases."""
    left_out = " and ".join(f"not {name}" for name in LEFT_OUT)
    return ["/venv/bin/python", "-m", "pytest", "--junitxml", "/run/results.xml", "--junit-prefix", "vm",
            *(arguments or ["-v", "-o", "faulthandler_timeout=150", "-k", left_out, *FILES])]
