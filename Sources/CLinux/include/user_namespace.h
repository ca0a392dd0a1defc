// User namespaces as the daemon makes them for pods, and mounts that show other ids.
#ifndef CLINUX_USER_NAMESPACE_H
#define CLINUX_USER_NAMESPACE_H

#include <stdint.h>

// Where the making of a user namespace failed.
enum clinux_users_step {
  CLINUX_USERS_OK = 0,
  CLINUX_USERS_PREPARE,
  CLINUX_USERS_CLONE,
  CLINUX_USERS_UID_MAP,
  CLINUX_USERS_GID_MAP,
  CLINUX_USERS_OPEN,
};

// One line of a uid_map or gid_map: ids from 0 inside are ids from `host` on the node, `count` of them.
struct clinux_id_range {
  uint32_t host;
  uint32_t count;
};

// Makes a user namespace with these ids, and with `network` not null a network namespace that it owns, by a child that
// ends before this returns. The descriptors, close-on-exec, are all that holds them. 0 or -errno with the step in *step;
// nothing is left then.
int clinux_make_user_namespace(
    struct clinux_id_range uids, struct clinux_id_range gids, int *users, int *network, int *step);

// Moves the calling thread into a network namespace. 0 or -errno.
int clinux_enter_network(int network);

// Whether the mount that a path (links followed) is on can show the ids of a user namespace: tried on a detached copy.
// 0 or -errno; -EINVAL: its file system cannot.
int clinux_try_id_map(const char *path, int users);

// Whether a mount and all below it can be made read-only in one call, tried on a detached copy. 0 or -errno.
int clinux_try_recursive_readonly(const char *path);

// The number of the mount that a path (links followed) leads to, as in mountinfo. 0 or -errno.
int clinux_mount_number(const char *path, uint64_t *number);

// fchown(2) of what a path of ours names, never through a link. 0 or -errno.
int clinux_own(const char *path, uint32_t uid, uint32_t gid);

#endif
