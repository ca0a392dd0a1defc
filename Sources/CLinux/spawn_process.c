// Between clone3 and execve the child shares the daemon's memory while the daemon's other threads run on: it makes
// system calls, reads what was prepared, and writes to one struct of its parent's. No malloc, no locks, no Swift.
#define _GNU_SOURCE 1
#include "spawn_process.h"

#include "clone3_call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { stack_size = 64 * 1024 };

struct child {
  const struct clinux_spawn *spawn;
  struct clinux_spawn_result *result;
};

static int fail(const struct child *child, int step, int index) {
  child->result->step = step;
  child->result->error = errno;
  child->result->index = index;
  return 127;
}

// Dispositions are not shared (no CLONE_SIGHAND). A caught signal must not run the daemon's handler on our stack, so
// all are default before the mask opens; ignored ones (SIGPIPE) would be inherited by the program. The system call, since
// glibc keeps 32 and 33 from its own sigaction, and a parent of the daemon's may have left them ignored.
static void reset_signals(void) {
  const unsigned long action[4] = {0};  // SIG_DFL, no flags, no restorer, empty mask, in whatever order
  for (int signal = 1; signal < NSIG; signal++) syscall(SYS_rt_sigaction, signal, action, NULL, NSIG / 8);
}

// Moves the sources out of the way first, so that no dup2 overwrites a source that is still needed. `moved` may not
// live on the heap; the count is bounded by the caller.
enum { most_descriptors = 64 };

static int place_descriptors(const struct child *child) {
  const struct clinux_spawn *spawn = child->spawn;
  int highest = 2;
  for (int i = 0; i < spawn->descriptor_count; i++)
    if (spawn->targets[i] > highest) highest = spawn->targets[i];
  int moved[most_descriptors];
  for (int i = 0; i < spawn->descriptor_count; i++) {
    moved[i] = fcntl(spawn->sources[i], F_DUPFD_CLOEXEC, highest + 1);
    if (moved[i] < 0) return fail(child, CLINUX_SPAWN_DESCRIPTORS, i);
  }
  int null = fcntl(spawn->null_descriptor, F_DUPFD_CLOEXEC, highest + 1);
  if (null < 0) return fail(child, CLINUX_SPAWN_DESCRIPTORS, -1);
  for (int target = 0; target <= highest; target++) {
    int source = target <= 2 ? null : -1;
    for (int i = 0; i < spawn->descriptor_count; i++)
      if (spawn->targets[i] == target) source = moved[i];
    if (source >= 0) {
      if (dup2(source, target) < 0) return fail(child, CLINUX_SPAWN_DESCRIPTORS, target);
    } else {
      close(target);
    }
  }
  // The child has its own table (no CLONE_FILES); what is marked here is closed by execve.
  if (syscall(SYS_close_range, highest + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    return fail(child, CLINUX_SPAWN_CLOSE_RANGE, 0);
  return 0;
}

static int run_child(void *argument) {
  const struct child *child = argument;
  const struct clinux_spawn *spawn = child->spawn;
  reset_signals();
  for (int i = 0; i < spawn->task_file_count; i++)
    if (write(spawn->task_files[i], "0", 1) != 1) return fail(child, CLINUX_SPAWN_CGROUP, i);
  if (spawn->new_session && setsid() < 0) return fail(child, CLINUX_SPAWN_SETSID, 0);
  int failed = place_descriptors(child);
  if (failed) return failed;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execve(spawn->path, spawn->argv, spawn->envp);
  return fail(child, CLINUX_SPAWN_EXEC, 0);
}

pid_t clinux_spawn_process(const struct clinux_spawn *spawn, int *pidfd, struct clinux_spawn_result *result) {
  memset(result, 0, sizeof *result);
  *pidfd = -1;
  if (spawn->descriptor_count > most_descriptors) {
    result->step = CLINUX_SPAWN_DESCRIPTORS;
    result->error = E2BIG;
    return -E2BIG;
  }
  void *stack = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) {
    result->step = CLINUX_SPAWN_STACK;
    result->error = errno;
    return -errno;
  }
  struct child child = {.spawn = spawn, .result = result};
  struct clone_args arguments;
  memset(&arguments, 0, sizeof arguments);
  arguments.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
  arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
  arguments.exit_signal = SIGCHLD;
  arguments.stack = (uint64_t)(uintptr_t)stack;
  arguments.stack_size = stack_size;
  if (spawn->unified_cgroup >= 0) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = (uint64_t)spawn->unified_cgroup;
  }
  // No signal may be handled by the child before its dispositions are default: blocked here, opened in the child.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long pid = clone3_call(&arguments, sizeof arguments, run_child, &child);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  munmap(stack, stack_size);
  if (pid < 0) {
    result->step = CLINUX_SPAWN_CLONE;
    result->error = (int)-pid;
    return (pid_t)pid;
  }
  if (result->step != CLINUX_SPAWN_OK) {
    siginfo_t info;
    while (waitid((idtype_t)3 /* P_PIDFD */, (id_t)*pidfd, &info, WEXITED) != 0 && errno == EINTR) {
    }
    close(*pidfd);
    *pidfd = -1;
    return -result->error;
  }
  return (pid_t)pid;
}
