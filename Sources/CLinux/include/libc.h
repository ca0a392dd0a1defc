// libc's headers, and what of them Swift cannot import by itself: errno, variadic functions, function-like macros.
#ifndef CLINUX_LIBC_H
#define CLINUX_LIBC_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// errno is a macro.
static inline int clinux_errno(void) { return errno; }

// Variadic functions do not import. All return -errno on failure.
static inline int clinux_open(const char *path, int flags, mode_t mode) {
  int fd = open(path, flags, mode);
  return fd < 0 ? -errno : fd;
}

static inline int clinux_fcntl(int fd, int command, long argument) {
  int result = fcntl(fd, command, argument);
  return result < 0 ? -errno : result;
}

static inline int clinux_ioctl(int fd, unsigned long request, void *argument) {
  int result = ioctl(fd, request, argument);
  return result < 0 ? -errno : result;
}

static inline int clinux_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  int result = prctl(option, a, b, c, d);
  return result < 0 ? -errno : result;
}

// SIG_IGN is a cast in a macro.
static inline int clinux_ignore_signal(int number) { return signal(number, SIG_IGN) == SIG_ERR ? -errno : 0; }

// The peer of a pseudo terminal's master (TIOCGPTPEER is a macro with a cast, its argument not a pointer), which may be
// opened from now on.
static inline int clinux_pty_peer(int master, int flags) {
  int locked = 0;
  if (ioctl(master, TIOCSPTLCK, &locked) < 0) return -errno;
  int peer = ioctl(master, TIOCGPTPEER, flags);
  return peer < 0 ? -errno : peer;
}

// The size that a terminal's processes see; they are told by SIGWINCH.
static inline int clinux_resize_terminal(int terminal, unsigned short width, unsigned short height) {
  struct winsize size = {.ws_col = width, .ws_row = height};
  return ioctl(terminal, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

// Reaps any one child that has ended. Returns its pid, 0 when none has ended, -errno otherwise (ECHILD: no children).
// `code` is si_code (CLD_EXITED and so on), `status` the exit code or the signal. siginfo_t's members are macros.
static inline int clinux_wait_any(int *code, int *status) {
  siginfo_t info;
  info.si_pid = 0;
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) < 0) return -errno;
  *code = info.si_code;
  *status = info.si_status;
  return info.si_pid;
}

// recvmsg that takes up to 8 descriptors, close-on-exec; CMSG_* are macros. Returns the bytes read or -errno;
// `*count` descriptors are in `descriptors` in either case.
static inline ssize_t clinux_receive(int fd, void *buffer, size_t size, int descriptors[8], int *count) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(8 * sizeof(int))];
  } control;
  struct iovec vector = {.iov_base = buffer, .iov_len = size};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  *count = 0;
  ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0) return -errno;
  for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item != NULL; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    size_t bytes = item->cmsg_len - CMSG_LEN(0);
    if (bytes > (8 - (size_t)*count) * sizeof(int)) bytes = (8 - (size_t)*count) * sizeof(int);
    memcpy(descriptors + *count, CMSG_DATA(item), bytes);
    *count += (int)(bytes / sizeof(int));
  }
  return got;
}

// The next client, non-blocking, or -errno. With _GNU_SOURCE the address is a transparent union.
static inline int clinux_accept(int listener) {
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return client < 0 ? -errno : client;
}

// The uid of the process that connected a Unix socket, or -errno. struct ucred needs _GNU_SOURCE in every importer.
static inline int64_t clinux_peer_uid(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return -errno;
  return peer.uid;
}

#endif
