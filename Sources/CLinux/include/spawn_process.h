// Starting a program from the threaded daemon, into cgroups and with exactly the descriptors given.
#ifndef CLINUX_SPAWN_PROCESS_H
#define CLINUX_SPAWN_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "host_calls.h"

// Where a spawn failed; the child's word to its parent.
enum clinux_spawn_step {
  CLINUX_SPAWN_OK = 0,
  CLINUX_SPAWN_STACK,
  CLINUX_SPAWN_CLONE,
  CLINUX_SPAWN_SETSID,
  CLINUX_SPAWN_CGROUP,
  CLINUX_SPAWN_DESCRIPTORS,
  CLINUX_SPAWN_CLOSE_RANGE,
  CLINUX_SPAWN_EXEC,
};

// All that the child needs, prepared by the parent; the child only reads it.
struct clinux_spawn {
  const char *path;
  char *const *argv;  // ends with a null pointer
  char *const *envp;  // ends with a null pointer
  // Descriptor sources[i] of the caller becomes targets[i] of the program; targets differ from each other. Every
  // descriptor that is not a target is closed; 0, 1 and 2 that are no target are /dev/null.
  const int *sources;
  const int *targets;
  int descriptor_count;
  // Files opened for writing (a v1 hierarchy's `tasks`): the child writes "0" to each, which moves it there.
  const int *task_files;
  int task_file_count;
  int unified_cgroup;  // descriptor of a v2 cgroup directory to be born in; -1: none
  int null_descriptor;  // /dev/null, opened for reading and writing
  int new_session;  // call setsid(2)
};

struct clinux_spawn_result {
  int step;  // enum clinux_spawn_step
  int error;  // errno of that step
  int index;  // which descriptor or task file
};

// clone3(2) with CLONE_VM|CLONE_VFORK|CLONE_PIDFD and execve(2). The calling thread waits until the program has begun.
// On success the child's pid, with its pidfd (close-on-exec) in *pidfd. On failure -errno with the step in *result;
// the child has been reaped.
pid_t clinux_spawn_process(const struct clinux_spawn *spawn, int *pidfd, struct clinux_spawn_result *result);

#endif
