// System calls that libc does not wrap, or wraps with policy of its own, as functions that Swift can call. Each returns
// a result >= 0, or -errno. No policy here: what to do with them is decided in ShimCore and LinuxSystem.
//
// Constants of the mount API are spelled out because <linux/mount.h> and <sys/mount.h> cannot be included together.
#ifndef CLINUX_SYSCALLS_H
#define CLINUX_SYSCALLS_H

#include "libc.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

// What open_tree, move_mount, fsmount and mount_setattr take (mount(2) family, include/uapi/linux/mount.h).
static const uint64_t clinux_mount_readonly = 0x1;
static const uint64_t clinux_mount_nosuid = 0x2;
static const uint64_t clinux_mount_nodev = 0x4;
static const uint64_t clinux_mount_noexec = 0x8;
static const uint64_t clinux_mount_noatime = 0x10;
static const uint64_t clinux_mount_strictatime = 0x20;
static const uint64_t clinux_mount_nodiratime = 0x80;
static const uint64_t clinux_propagation_private = 1 << 18;
static const uint64_t clinux_propagation_slave = 1 << 19;
static const uint64_t clinux_propagation_shared = 1 << 20;
// File systems' magic numbers, as fstatfs(2) shows them.
static const int64_t clinux_proc_magic = 0x9fa0;
static const int64_t clinux_devpts_magic = 0x1cd1;

// clone3's flags that <sched.h> lacks or has as an unsigned macro that Swift reads as a signed one.
static const uint64_t clinux_clone_newns = 0x00020000;
static const uint64_t clinux_clone_newcgroup = 0x02000000;
static const uint64_t clinux_clone_newuts = 0x04000000;
static const uint64_t clinux_clone_newipc = 0x08000000;
static const uint64_t clinux_clone_newpid = 0x20000000;
static const uint64_t clinux_clone_newnet = 0x40000000;
static const uint64_t clinux_clone_newuser = 0x10000000;
static const uint64_t clinux_clone_vfork = 0x00004000;
static const uint64_t clinux_clone_parent = 0x00008000;
static const uint64_t clinux_clone_clear_sighand = 0x100000000ULL;

static inline int clinux_result(long value) { return value < 0 ? -errno : (int)value; }

// clone3(2) like fork(2): the child has a copy of memory and returns 0. `cgroup` is a directory's descriptor for
// CLONE_INTO_CGROUP, or -1. The pidfd (close-on-exec) is stored in the parent's *pidfd. With CLONE_PARENT the child is
// told of to its parent as the caller is.
static inline int clinux_clone3(uint64_t flags, int *pidfd, int cgroup) {
  struct {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
  } arguments = {
      .flags = flags | 0x1000 /* CLONE_PIDFD */, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
  if (flags & clinux_clone_parent) arguments.exit_signal = 0;
  if (cgroup >= 0) {
    arguments.flags |= 0x200000000ULL;  // CLONE_INTO_CGROUP
    arguments.cgroup = (uint64_t)cgroup;
  }
  return clinux_result(syscall(SYS_clone3, &arguments, sizeof arguments));
}

// openat2(2). `flags` gets O_CLOEXEC.
static inline int clinux_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  return clinux_result(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

// openat(2). `flags` gets O_CLOEXEC.
static inline int clinux_open_at(int directory, const char *path, int flags, mode_t mode) {
  return clinux_result(syscall(SYS_openat, directory, path, flags | O_CLOEXEC, mode));
}

// fsopen(2), fsconfig(2), fsmount(2): a file system that is nowhere yet.
static inline int clinux_fsopen(const char *type) { return clinux_result(syscall(SYS_fsopen, type, 1 /* CLOEXEC */)); }
static inline int clinux_fsconfig_flag(int context, const char *key) {
  return clinux_result(syscall(SYS_fsconfig, context, 0, key, NULL, 0));
}
static inline int clinux_fsconfig_string(int context, const char *key, const char *value) {
  return clinux_result(syscall(SYS_fsconfig, context, 1, key, value, 0));
}
static inline int clinux_fsconfig_create(int context) {
  return clinux_result(syscall(SYS_fsconfig, context, 6, NULL, NULL, 0));
}
static inline int clinux_fsmount(int context, uint64_t attributes) {
  return clinux_result(syscall(SYS_fsmount, context, 1 /* CLOEXEC */, (unsigned int)attributes));
}

// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at a path (or at the descriptor, for an empty path).
static inline int clinux_clone_tree(int directory, const char *path, int recursive) {
  unsigned int flags = 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  if (path[0] == 0) flags |= AT_EMPTY_PATH;
  return clinux_result(syscall(SYS_open_tree, directory, path, flags));
}

// move_mount(2) of the mount that a descriptor stands for onto what another one, or a path, stands for.
static inline int clinux_attach_mount(int mount, int target) {
  return clinux_result(syscall(SYS_move_mount, mount, "", target, "", 0x4 | 0x40 /* both paths empty */));
}
static inline int clinux_attach_mount_at(int mount, const char *path) {
  return clinux_result(syscall(SYS_move_mount, mount, "", AT_FDCWD, path, 0x4));
}

// mount_setattr(2) on the mount of a descriptor; `recursive` for the mounts below it as well.
static inline int clinux_mount_setattr(int mount, int recursive, uint64_t set, uint64_t propagation) {
  struct {
    uint64_t set, clear, propagation, userns;
  } attributes = {.set = set, .propagation = propagation};
  return clinux_result(
      syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attributes, 32));
}

// mount_setattr(2): a detached mount, not those below it, shows files with the ids that a user namespace's map makes of
// their owners. -EINVAL where its file system cannot.
static inline int clinux_map_ids(int mount, int users) {
  struct {
    uint64_t set, clear, propagation, userns;
  } attributes = {.set = 0x100000 /* MOUNT_ATTR_IDMAP */, .userns = (uint64_t)users};
  return clinux_result(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attributes, 32));
}

// mount_setattr(2) on every mount of this process's mount namespace below its root.
static inline int clinux_propagate_all(uint64_t propagation) {
  struct {
    uint64_t set, clear, propagation, userns;
  } attributes = {.propagation = propagation};
  return clinux_result(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, 32));
}

static inline int clinux_pivot_root(const char *root, const char *old) {
  return clinux_result(syscall(SYS_pivot_root, root, old));
}
static inline int clinux_detach_mount(const char *path) { return clinux_result(syscall(SYS_umount2, path, 2)); }

static inline int clinux_setns(int descriptor, uint64_t flags) {
  return clinux_result(syscall(SYS_setns, descriptor, (int)flags));
}
static inline int clinux_unshare(uint64_t flags) { return clinux_result(syscall(SYS_unshare, flags)); }
static inline int clinux_sethostname(const char *name, size_t length) {
  return clinux_result(syscall(SYS_sethostname, name, length));
}

// ioctl_ns(2): the user namespace that owns a namespace, as a descriptor that is close-on-exec.
static inline int clinux_namespace_owner(int descriptor) { return clinux_ioctl(descriptor, 0xb701, NULL); }

// The ids that new files get; the file capabilities that go with a uid of 0 go with it, capset(2) brings them back.
static inline void clinux_own_new_files(uint32_t uid, uint32_t gid) {
  syscall(SYS_setfsgid, gid);
  syscall(SYS_setfsuid, uid);
}
static inline int clinux_fchown(int file, uint32_t uid, uint32_t gid) {
  return clinux_result(syscall(SYS_fchown, file, uid, gid));
}

// A connected pair of sockets that keep messages whole.
static inline int clinux_socketpair(int ends[2]) {
  return clinux_result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
}

// A message of one byte, with a descriptor unless that is -1.
static inline int clinux_send_descriptor(int socket, int descriptor) {
  char byte = 0;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
  }
  return clinux_result(sendmsg(socket, &message, MSG_NOSIGNAL));
}

// Receives such a message. 1 with the descriptor (close-on-exec) or -1 in *descriptor, 0 when the other end is gone.
static inline int clinux_receive_descriptor(int socket, int *descriptor, int flags) {
  char byte;
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *descriptor = -1;
  ssize_t got;
  do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  while (got < 0 && errno == EINTR);
  if (got <= 0) return clinux_result(got);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_type == SCM_RIGHTS) memcpy(descriptor, CMSG_DATA(header), sizeof *descriptor);
  return 1;
}

static inline int clinux_wait_for_descriptor(int socket, int *descriptor) {
  return clinux_receive_descriptor(socket, descriptor, 0);
}
// Does not wait: -EAGAIN when none has come.
static inline int clinux_take_descriptor(int socket, int *descriptor) {
  return clinux_receive_descriptor(socket, descriptor, MSG_DONTWAIT);
}

// waitid(2) for one child.
static inline int clinux_reap(pid_t pid) {
  siginfo_t information;
  int result;
  do result = waitid(P_PID, (id_t)pid, &information, WEXITED);
  while (result < 0 && errno == EINTR);
  return clinux_result(result);
}

static inline int clinux_pidfd_open(pid_t pid) { return clinux_result(syscall(SYS_pidfd_open, pid, 0)); }
static inline int clinux_pidfd_send_signal(int pidfd, int signal) {
  return clinux_result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

static inline int clinux_close_on_exec_from(unsigned int first) {
  return clinux_result(syscall(SYS_close_range, first, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */));
}

// prlimit(2): this process's soft RLIMIT_NOFILE, at most the hard one, which stays.
static inline int clinux_limit_open_files(uint64_t most) {
  struct {
    uint64_t soft, hard;
  } limits;
  int result = clinux_result(syscall(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, NULL, &limits));
  if (result < 0) return result;
  limits.soft = most < limits.hard ? most : limits.hard;
  return clinux_result(syscall(SYS_prlimit64, 0, 7, &limits, NULL));
}

// capset(2) on this thread; bit n stands for capability n.
static inline int clinux_capset(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
      {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)}};
  return clinux_result(syscall(SYS_capset, &header, data));
}

// capget(2): the permitted set of this thread.
static inline uint64_t clinux_permitted_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}};
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].permitted | (uint64_t)data[1].permitted << 32;
}

// seccomp(2): loads a program of struct sock_filter; `length` in bytes, `flags` of SECCOMP_FILTER_FLAG_*.
static inline int clinux_seccomp_load(const void *filter, size_t length, unsigned int flags) {
  struct sock_fprog program = {(unsigned short)(length / sizeof(struct sock_filter)), (struct sock_filter *)filter};
  return clinux_result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

// keyctl(2): a new, anonymous session keyring.
static inline int clinux_join_session_keyring(void) { return clinux_result(syscall(SYS_keyctl, 1, NULL)); }

// The raw identity calls: libc's tell other threads, and there are none.
static inline int clinux_setgroups(const uint32_t *groups, size_t count) {
  return clinux_result(syscall(SYS_setgroups, count, groups));
}
static inline int clinux_setresgid(uint32_t id) { return clinux_result(syscall(SYS_setresgid, id, id, id)); }
static inline int clinux_setresuid(uint32_t id) { return clinux_result(syscall(SYS_setresuid, id, id, id)); }

// getcwd(2) without libc's walk; "(unreachable)…" comes back as the kernel says it.
static inline int clinux_getcwd(char *buffer, size_t size) { return clinux_result(syscall(SYS_getcwd, buffer, size)); }

static inline int clinux_execve(const char *path, char *const *argv, char *const *envp) {
  return clinux_result(syscall(SYS_execve, path, argv, envp));
}
// execveat(2) of the file that a descriptor stands for.
static inline int clinux_execute(int file, char *const *argv, char *const *envp) {
  return clinux_result(syscall(SYS_execveat, file, "", argv, envp, AT_EMPTY_PATH));
}

static inline char *const *clinux_environment(void) { return environ; }

static inline int clinux_mkdirat(int directory, const char *name, mode_t mode) {
  return clinux_result(syscall(SYS_mkdirat, directory, name, mode));
}
static inline int clinux_symlinkat(const char *target, int directory, const char *name) {
  return clinux_result(syscall(SYS_symlinkat, target, directory, name));
}
static inline int clinux_mknodat(int directory, const char *name, mode_t mode, unsigned int major, unsigned int minor) {
  return clinux_result(syscall(SYS_mknodat, directory, name, mode, makedev(major, minor)));
}
static inline int clinux_fchownat(int directory, const char *name, uint32_t uid, uint32_t gid) {
  return clinux_result(syscall(SYS_fchownat, directory, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}
// The target of the link that an O_PATH descriptor stands for; not terminated.
static inline int clinux_readlink(int link, char *buffer, size_t size) {
  return clinux_result(syscall(SYS_readlinkat, link, "", buffer, size));
}
static inline int clinux_write(int descriptor, const void *bytes, size_t count) {
  return clinux_result(syscall(SYS_write, descriptor, bytes, count));
}
static inline int clinux_dup3(int from, int to, int flags) {
  return clinux_result(syscall(SYS_dup3, from, to, flags));
}
static inline int clinux_pipe(int ends[2]) { return clinux_result(syscall(SYS_pipe2, ends, O_CLOEXEC)); }
static inline int clinux_fchdir(int directory) { return clinux_result(syscall(SYS_fchdir, directory)); }
// sched_setaffinity(2) of the calling thread: to every CPU that its cpuset has.
static inline int clinux_run_anywhere(void) {
  unsigned char all[1024];
  memset(all, 0xff, sizeof all);
  return clinux_result(syscall(SYS_sched_setaffinity, 0, sizeof all, all));
}
static inline int clinux_setsid(void) { return clinux_result(syscall(SYS_setsid)); }
static inline int clinux_controlling_terminal(int terminal) {
  return clinux_result(syscall(SYS_ioctl, terminal, TIOCSCTTY, 0));
}

// fstat(2): type and permission bits, device number of a special file.
static inline int clinux_file_kind(int file, uint32_t *mode, uint64_t *device) {
  struct stat status;
  if (fstat(file, &status) != 0) return -errno;
  *mode = status.st_mode;
  *device = status.st_rdev;
  return 0;
}
static inline uint64_t clinux_device_number(unsigned int major, unsigned int minor) { return makedev(major, minor); }
static inline uint32_t clinux_device_major(uint64_t device) { return major(device); }

// statx(2): the number of the mount that a path leads to, as in mountinfo.
static inline int clinux_mount_identifier(int directory, const char *path, uint64_t *identifier) {
  struct statx status;
  if (statx(directory, path, 0, 0x1000 /* STATX_MNT_ID */, &status) != 0) return -errno;
  memcpy(identifier, &status.stx_mnt_id, sizeof *identifier);
  return 0;
}

// fstatfs(2): magic number and ST_* flags of the mount that a descriptor is on.
static inline int clinux_file_system(int file, int64_t *magic, uint64_t *flags) {
  struct statfs status;
  if (fstatfs(file, &status) != 0) return -errno;
  *magic = status.f_type;
  *flags = (uint64_t)status.f_flags;
  return 0;
}

// All signals deliverable again.
static inline int clinux_unblock_signals(void) {
  sigset_t none;
  sigemptyset(&none);
  return sigprocmask(SIG_SETMASK, &none, NULL) == 0 ? 0 : -errno;
}
// The kernel's struct sigaction has at most these words: handler, flags, restorer, mask, in whatever order. Asked with
// the system call, since glibc keeps signals 32 and 33 from its own sigaction, and who started us may ignore them.
enum { clinux_sigaction_words = 4, clinux_sigset_size = 8 };

// Bit n - 1 is set for each signal n that is ignored in this process.
static inline uint64_t clinux_ignored_signals(void) {
  uint64_t ignored = 0;
  for (int number = 1; number <= 64; number++) {
    unsigned long action[clinux_sigaction_words] = {0};  // the handler comes first on every architecture of Debian's
    if (syscall(SYS_rt_sigaction, number, NULL, action, clinux_sigset_size) == 0 && action[0] == (unsigned long)SIG_IGN)
      ignored |= 1ULL << (number - 1);
  }
  return ignored;
}

// The default disposition again, of any signal from 1 to 64.
static inline int clinux_default_signal(int number) {
  const unsigned long action[clinux_sigaction_words] = {0};  // SIG_DFL, no flags, no restorer, empty mask
  return clinux_result(syscall(SYS_rt_sigaction, number, action, NULL, clinux_sigset_size));
}

#endif
