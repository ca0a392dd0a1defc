"""A Linux of another age and kind than the machine's: Debian's cloud kernel with cgroup v2 alone, emulated by qemu.

`python -m vm` boots it with our programs, runs container cases in it, and hands their results out.
"""
