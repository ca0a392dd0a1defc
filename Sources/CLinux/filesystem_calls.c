#define _GNU_SOURCE 1
#include "filesystem_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static long result(long value) { return value < 0 ? -errno : value; }

int clinux_fs_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  return (int)result(syscall(SYS_openat2, directory, path, &how, sizeof how));
}

int clinux_fs_fsetxattr(int descriptor, const char *name, const void *value, size_t size) {
  return (int)result(fsetxattr(descriptor, name, value, size, 0));
}

ssize_t clinux_fs_flistxattr(int descriptor, char *list, size_t size) {
  return result(flistxattr(descriptor, list, size));
}

ssize_t clinux_fs_fgetxattr(int descriptor, const char *name, void *value, size_t size) {
  return result(fgetxattr(descriptor, name, value, size));
}

int clinux_fs_syncfs(int descriptor) { return (int)result(syncfs(descriptor)); }

int clinux_fs_rename_no_replace(int from_directory, const char *from, int to_directory, const char *to) {
  return (int)result(renameat2(from_directory, from, to_directory, to, RENAME_NOREPLACE));
}

int clinux_fs_mknodat(int directory, const char *name, uint32_t mode, uint32_t major, uint32_t minor) {
  return (int)result(mknodat(directory, name, mode, makedev(major, minor)));
}

int clinux_fs_open_overlay(void) { return (int)result(fsopen("overlay", FSOPEN_CLOEXEC)); }

int clinux_fs_add_lower(int context, const char *path) {
  return (int)result(fsconfig(context, FSCONFIG_SET_STRING, "lowerdir+", path, 0));
}

int clinux_fs_mount_detached(int context) {
  if (fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0) return -errno;
  if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0) return -errno;
  const unsigned attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  return (int)result(fsmount(context, FSMOUNT_CLOEXEC, attributes));
}
