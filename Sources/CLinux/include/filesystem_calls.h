// File system calls of the image store that Swift's Glibc module leaves out. No policy.
// Each returns a count, a descriptor or 0, and -errno on failure.
#ifndef CLINUX_FILESYSTEM_CALLS_H
#define CLINUX_FILESYSTEM_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// fsetxattr(2), flistxattr(2), fgetxattr(2).
int clinux_fs_fsetxattr(int descriptor, const char *name, const void *value, size_t size);
ssize_t clinux_fs_flistxattr(int descriptor, char *list, size_t size);
ssize_t clinux_fs_fgetxattr(int descriptor, const char *name, void *value, size_t size);

// syncfs(2).
int clinux_fs_syncfs(int descriptor);

// mknodat(2); the device number is made of its parts here (makedev(3)).
int clinux_fs_mknodat(int directory, const char *name, uint32_t mode, uint32_t major, uint32_t minor);

// The new mount API for an overlay without an upper directory (fsopen(2), fsconfig(2), fsmount(2)).
int clinux_fs_open_overlay(void);
int clinux_fs_add_lower(int context, const char *path);
// Creates the superblock and a detached, read-only mount of it: nodev, nosuid, noexec. A descriptor.
int clinux_fs_mount_detached(int context);

#endif
