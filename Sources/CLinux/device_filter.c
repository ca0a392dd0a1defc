#define _GNU_SOURCE 1
#include "device_filter.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(struct clinux_bpf_instruction) == sizeof(struct bpf_insn), "one layout");

struct writer {
  struct clinux_bpf_instruction *program;
  int capacity;
  int count;
};

static void emit(struct writer *writer, uint8_t code, int destination, int source, int16_t offset, int32_t immediate) {
  if (writer->count < writer->capacity) {
    struct clinux_bpf_instruction instruction = {
        .code = code,
        .registers = (uint8_t)(destination | source << 4),
        .offset = offset,
        .immediate = immediate,
    };
    writer->program[writer->count] = instruction;
  }
  writer->count++;
}

enum { context = BPF_REG_1, scratch = BPF_REG_1, type = BPF_REG_2, access_bits = BPF_REG_3, major = BPF_REG_4,
       minor = BPF_REG_5 };

static void emit_allow(struct writer *writer, int32_t allowed) {
  emit(writer, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allowed);
  emit(writer, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

// Each test jumps over the rest of its rule; the distances are filled in once the rule's end is known.
static void emit_rule(struct writer *writer, const struct clinux_device_rule *rule) {
  int first = writer->count;
  int32_t refused = (CLINUX_DEVICE_MKNOD | CLINUX_DEVICE_READ | CLINUX_DEVICE_WRITE) & ~rule->access;
  if (rule->type != 'a')
    emit(writer, BPF_JMP | BPF_JNE | BPF_K, type, 0, 0,
         rule->type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
  if (refused) {
    emit(writer, BPF_ALU64 | BPF_MOV | BPF_X, scratch, access_bits, 0, 0);
    emit(writer, BPF_ALU64 | BPF_AND | BPF_K, scratch, 0, 0, refused);
    emit(writer, BPF_JMP | BPF_JNE | BPF_K, scratch, 0, 0, 0);
  }
  if (rule->major >= 0) emit(writer, BPF_JMP | BPF_JNE | BPF_K, major, 0, 0, (int32_t)rule->major);
  if (rule->minor >= 0) emit(writer, BPF_JMP | BPF_JNE | BPF_K, minor, 0, 0, (int32_t)rule->minor);
  emit_allow(writer, 1);
  for (int i = first; i < writer->count && i < writer->capacity; i++)
    if (writer->program[i].code == (BPF_JMP | BPF_JNE | BPF_K))
      writer->program[i].offset = (int16_t)(writer->count - i - 1);
}

int clinux_device_filter_build(
    const struct clinux_device_rule *rules, int rule_count, struct clinux_bpf_instruction *program, int capacity) {
  struct writer writer = {.program = program, .capacity = capacity, .count = 0};
  // struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor.
  emit(&writer, BPF_LDX | BPF_MEM | BPF_W, type, context, 0, 0);
  emit(&writer, BPF_LDX | BPF_MEM | BPF_W, major, context, 4, 0);
  emit(&writer, BPF_LDX | BPF_MEM | BPF_W, minor, context, 8, 0);
  emit(&writer, BPF_ALU64 | BPF_MOV | BPF_X, access_bits, type, 0, 0);
  emit(&writer, BPF_ALU64 | BPF_RSH | BPF_K, access_bits, 0, 0, 16);
  emit(&writer, BPF_ALU64 | BPF_AND | BPF_K, type, 0, 0, 0xffff);
  for (int i = 0; i < rule_count; i++) {
    if (rules[i].type != 'a' && rules[i].type != 'b' && rules[i].type != 'c') return -EINVAL;
    emit_rule(&writer, &rules[i]);
  }
  emit_allow(&writer, 0);
  return writer.count <= capacity ? writer.count : -E2BIG;
}

static long bpf(int command, union bpf_attr *attributes) {
  return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

enum { most_attached = 64 };  // the kernel's own limit for one cgroup and type

static int attached_programs(int cgroup, uint32_t *ids) {
  union bpf_attr query;
  memset(&query, 0, sizeof query);
  query.query.target_fd = (uint32_t)cgroup;
  query.query.attach_type = BPF_CGROUP_DEVICE;
  query.query.prog_ids = (uint64_t)(uintptr_t)ids;
  query.query.prog_cnt = most_attached;
  return bpf(BPF_PROG_QUERY, &query) != 0 ? -errno : (int)query.query.prog_cnt;
}

static int detach(int cgroup, uint32_t id) {
  union bpf_attr open;
  memset(&open, 0, sizeof open);
  open.prog_id = id;
  int program = (int)bpf(BPF_PROG_GET_FD_BY_ID, &open);
  if (program < 0) return -errno;
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = (uint32_t)cgroup;
  attributes.attach_bpf_fd = (uint32_t)program;
  attributes.attach_type = BPF_CGROUP_DEVICE;
  int failed = bpf(BPF_PROG_DETACH, &attributes) != 0 ? -errno : 0;
  close(program);
  return failed;
}

int clinux_device_filter_attach(int cgroup, const struct clinux_bpf_instruction *program, int count) {
  uint32_t former[most_attached];
  int former_count = attached_programs(cgroup, former);
  if (former_count < 0) return former_count;

  union bpf_attr load;
  memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insn_cnt = (uint32_t)count;
  load.insns = (uint64_t)(uintptr_t)program;
  load.license = (uint64_t)(uintptr_t)"Apache-2.0";  // calls no helper that asks for the GPL
  memcpy(load.prog_name, "swiftlet_dev", sizeof "swiftlet_dev");
  int loaded = (int)bpf(BPF_PROG_LOAD, &load);
  if (loaded < 0) return -errno;

  union bpf_attr attach;
  memset(&attach, 0, sizeof attach);
  attach.target_fd = (uint32_t)cgroup;
  attach.attach_bpf_fd = (uint32_t)loaded;
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  int failed = bpf(BPF_PROG_ATTACH, &attach) != 0 ? -errno : 0;
  close(loaded);  // the cgroup holds it from here on
  for (int i = 0; !failed && i < former_count; i++) failed = detach(cgroup, former[i]);
  return failed;
}
