"""Which cases run in the machine: those of v2 alone, and of the others what hangs most on cgroups and on the kernel.

The rest of the container contract and of layers L and S passes there, too, and takes half an hour: `make vm CASE=...`.
"""

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
test_terminals.py::test_what_a_container_sees_of_its_terminal
test_terminals.py::test_a_command_has_a_terminal_in_a_user_namespace
test_streaming.py::test_a_terminal_that_is_resized
test_streaming.py::test_a_terminal_hangs_up_when_its_client_leaves
test_streaming.py::test_two_clients_of_one_container
test_streaming.py::test_attach_to_a_terminal
test_client_sessions.py::test_a_shell_at_the_terminal
test_lifecycle.py::test_the_pod_stops_while_a_container_starts[start.process]
test_recovery.py::test_nobody_outlives_the_group_of_a_removed_container
test_recovery.py::test_a_removal_that_cannot_end_a_process_says_so
test_recovery.py::test_an_exec_of_an_earlier_daemon_is_nobody_elses
test_mounts.py::test_propagation_in_three_modes
test_mounts.py::test_read_only_and_what_is_mounted_below
test_mounts.py::test_shm_is_one_of_the_pod_and_of_its_size
test_security.py::test_the_default_profile_forbids_what_it_should_and_allows_the_rest
test_security.py::test_masked_and_read_only_paths
test_security.py::test_kernel_mounts_have_their_flags
attacks/test_prober.py
attacks/test_L24_node_mounts.py
attacks/test_L25_mount_flags.py::test_table_of_flags_in_a_user_namespace
attacks/test_L25_mount_flags.py::test_what_the_node_withholds_stays_withheld
attacks/test_L28_other_abis.py
attacks/test_S01_sockets.py
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
            *(arguments or ["-v", "-o", "faulthandler_timeout=300", "-k", left_out, *FILES])]
