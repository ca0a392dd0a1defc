#define _GNU_SOURCE 1
#include "overlay_layers.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "filesystem_calls.h"

bool clinux_overlay_checks_options(int context) {
  // No option takes bytes, so this fails on every kernel and sets nothing; fsconfig(2) has EOPNOTSUPP for file systems
  // that get all options as one text.
  return fsconfig(context, FSCONFIG_SET_BINARY, "lowerdir+", "", 1) >= 0 || errno != EOPNOTSUPP;
}

int clinux_overlay_lower(int context, const int *layers, size_t count) {
  char text[256];
  size_t used = 0;
  for (size_t i = 0; i < count; i++) {
    int written = snprintf(text + used, sizeof text - used, i ? ":%d" : "%d", layers[i]);
    if (written < 0 || (size_t)written >= sizeof text - used) return -E2BIG;
    used += (size_t)written;
  }
  return fsconfig(context, FSCONFIG_SET_STRING, "lowerdir", text, 0) < 0 ? -errno : 0;
}

static int view(const int *layers, size_t count) {
  int context = clinux_fs_open_overlay();
  if (context < 0) return context;
  int mount = clinux_overlay_lower(context, layers, count);
  if (mount == 0) mount = clinux_fs_mount_detached(context);
  close(context);
  return mount;
}

int clinux_overlay_view(const int *layers, size_t count) {
  if (unshare(CLONE_FS) < 0 || chdir("/proc/thread-self/fd") < 0) return -errno;
  int mount = view(layers, count);
  // The thread is somebody else's next; its working directory must not stay in a directory of its own.
  if (chdir("/") < 0 && mount >= 0) {
    close(mount);
    return -errno;
  }
  return mount;
}
