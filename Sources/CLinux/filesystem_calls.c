#define _GNU_SOURCE 1
#include "filesystem_calls.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static long result(long value) { return value < 0 ? -errno : value; }

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
