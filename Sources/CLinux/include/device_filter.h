// The device allow list of a cgroup v2, as a BPF program (v1 has files for it). Kernel: Documentation/admin-guide/
// cgroup-v2.rst "Device controller", uapi linux/bpf.h BPF_PROG_TYPE_CGROUP_DEVICE.
#ifndef CLINUX_DEVICE_FILTER_H
#define CLINUX_DEVICE_FILTER_H

#include <stdint.h>

enum {
  CLINUX_DEVICE_MKNOD = 1,
  CLINUX_DEVICE_READ = 2,
  CLINUX_DEVICE_WRITE = 4,
};

struct clinux_device_rule {
  char type;  // 'c', 'b', or 'a' for both
  uint8_t access;  // what is allowed: CLINUX_DEVICE_* bits
  int64_t major;  // -1: any
  int64_t minor;  // -1: any
};

struct clinux_bpf_instruction {
  uint8_t code;
  uint8_t registers;  // destination in the low, source in the high four bits
  int16_t offset;
  int32_t immediate;
};

// Writes the program that allows exactly what some rule allows. The count of instructions, or -E2BIG when `capacity`
// does not hold them (9 for each rule and 8 more always do), or -EINVAL for a rule with an unknown type.
int clinux_device_filter_build(
    const struct clinux_device_rule *rules, int rule_count, struct clinux_bpf_instruction *program, int capacity);

// Loads the program and attaches it to the v2 cgroup, in place of those that were attached to it directly. 0, or
// -errno; a refusal leaves the former programs in force.
int clinux_device_filter_attach(int cgroup, const struct clinux_bpf_instruction *program, int count);

#endif
