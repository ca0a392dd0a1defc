// The child shares the daemon's memory, and the daemon's other threads run on: it makes raw system calls, without errno,
// which would be its parent's.
#define _GNU_SOURCE 1
#include "user_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clone3_call.h"

enum { stack_size = 16 * 1024 };

static long raw_call(long number, long a, long b, long c) {
#if defined(__x86_64__)
  long value;
  __asm__ volatile("syscall" : "=a"(value) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return value;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
  return x0;
#endif
}

// Waits for the end of the pipe's other end, which nobody but the parent holds: every other descriptor is closed, also
// the other ends of pipes of children beside this one, which would wait for each other otherwise. So it ends with the
// daemon, whatever ends that.
static int wait_for_end(void *argument) {
  long reader = *(const int *)argument;
  if (reader > 0) raw_call(SYS_close_range, 0, reader - 1, 0);
  raw_call(SYS_close_range, reader + 1, ~0U, 0);
  char byte;
  while (raw_call(SYS_read, reader, (long)&byte, 1) == -EINTR) {
  }
  return 0;
}

static int write_map(pid_t pid, const char *name, struct clinux_id_range range) {
  char path[64];
  char line[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int length = snprintf(line, sizeof line, "0 %u %u\n", range.host, range.count);
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  ssize_t written = write(file, line, (size_t)length);
  int failed = written == length ? 0 : written < 0 ? -errno : -EIO;
  close(file);
  return failed;
}

static int open_namespace(pid_t pid, const char *name) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  return file < 0 ? -errno : file;
}

static int furnish(
    pid_t pid, struct clinux_id_range uids, struct clinux_id_range gids, int *users, int *network, int *step) {
  *step = CLINUX_USERS_UID_MAP;
  int failed = write_map(pid, "uid_map", uids);
  if (failed) return failed;
  *step = CLINUX_USERS_GID_MAP;
  failed = write_map(pid, "gid_map", gids);
  if (failed) return failed;
  *step = CLINUX_USERS_OPEN;
  int first = open_namespace(pid, "user");
  if (first < 0) return first;
  if (network) {
    *network = open_namespace(pid, "net");
    if (*network < 0) {
      close(first);
      return *network;
    }
  }
  *users = first;
  *step = CLINUX_USERS_OK;
  return 0;
}

// With all signals blocked in the child, which would run the daemon's handlers on its own small stack otherwise.
static long start_child(uint64_t flags, void *stack, int *reader, int *pidfd) {
  struct clone_args arguments;
  memset(&arguments, 0, sizeof arguments);
  arguments.flags = flags | CLONE_VM | CLONE_PIDFD;
  arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
  arguments.exit_signal = SIGCHLD;
  arguments.stack = (uint64_t)(uintptr_t)stack;
  arguments.stack_size = stack_size;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long pid = clone3_call(&arguments, sizeof arguments, wait_for_end, reader);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return pid;
}

int clinux_make_user_namespace(
    struct clinux_id_range uids, struct clinux_id_range gids, int *users, int *network, int *step) {
  int ends[2];
  *step = CLINUX_USERS_PREPARE;
  if (pipe2(ends, O_CLOEXEC) != 0) return -errno;
  void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    int failed = -errno;
    close(ends[0]);
    close(ends[1]);
    return failed;
  }
  int pidfd = -1;
  *step = CLINUX_USERS_CLONE;
  long pid = start_child(CLONE_NEWUSER | (network ? CLONE_NEWNET : 0), stack, &ends[0], &pidfd);
  int failed = pid < 0 ? (int)pid : furnish((pid_t)pid, uids, gids, users, network, step);
  close(ends[1]);
  close(ends[0]);
  if (pid > 0) {
    siginfo_t info;
    while (waitid((idtype_t)3 /* P_PIDFD */, (id_t)pidfd, &info, WEXITED) != 0 && errno == EINTR) {
    }
    close(pidfd);
  }
  munmap(stack, stack_size);
  return failed;
}

int clinux_enter_network(int network) { return setns(network, CLONE_NEWNET) == 0 ? 0 : -errno; }

static int try_attributes(const char *path, unsigned int flags, struct mount_attr *attributes) {
  int copy = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (copy < 0) return -errno;
  long result = syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH | flags, attributes, sizeof *attributes);
  int failed = result == 0 ? 0 : -errno;
  close(copy);
  return failed;
}

int clinux_try_id_map(const char *path, int users) {
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)users};
  return try_attributes(path, 0, &attributes);
}

int clinux_try_recursive_readonly(const char *path) {
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  return try_attributes(path, AT_RECURSIVE, &attributes);
}

int clinux_mount_number(const char *path, uint64_t *number) {
  struct statx status;
  if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &status) != 0) return -errno;
  *number = status.stx_mnt_id;
  return 0;
}

int clinux_own(const char *path, uint32_t uid, uint32_t gid) {
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return -errno;
  int failed = fchown(file, uid, gid) == 0 ? 0 : -errno;
  close(file);
  return failed;
}
