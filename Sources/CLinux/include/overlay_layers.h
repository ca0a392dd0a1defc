// Layers of an overlay on kernels before 6.8, which do not take them one by one (`lowerdir+`).
#ifndef CLINUX_OVERLAY_LAYERS_H
#define CLINUX_OVERLAY_LAYERS_H

#include <stdbool.h>
#include <stddef.h>

// Whether the kernel's overlay looks at each option when it is set. Before Linux 6.5 it takes any, refuses the whole when
// the superblock is made, and writes to the kernel's log which it did not know.
bool clinux_overlay_checks_options(int context);

// fsconfig(2) `lowerdir` with all layers in one text, topmost first. They are named by their descriptors' numbers,
// relative to /proc/self/fd, which must be the working directory then and when the superblock is made: paths would not
// fit into the 255 bytes that fsconfig takes. 0 or -errno; -E2BIG: too many for one text (some 80).
int clinux_overlay_lower(int context, const int *layers, size_t count);

// The daemon's side of it: gives the calling thread a working directory of its own (unshare(2), CLONE_FS), and makes a
// read-only overlay of the layers below /proc/self/fd, detached: nodev, nosuid, noexec. A descriptor or -errno.
int clinux_overlay_view(const int *layers, size_t count);

#endif
