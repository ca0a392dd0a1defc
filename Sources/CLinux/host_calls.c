#define _GNU_SOURCE 1
#include "host_calls.h"
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int result(long value) { return value < 0 ? -errno : (int)value; }

int clinux_host_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  return clinux_openat2(directory, path, flags, mode, resolve);
}

int clinux_host_pidfd_open(pid_t pid, unsigned int flags) { return result(syscall(SYS_pidfd_open, pid, flags)); }

int clinux_host_pidfd_send_signal(int pidfd, int signal) {
  return result(syscall(SYS_pidfd_send_signal, pidfd, signal, (void *)0, 0));
}

int clinux_host_reap(int pidfd, int *code, int *status) {
  siginfo_t info;
  info.si_pid = 0;
  if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) != 0) return -errno;
  if (info.si_pid == 0) return 0;
  *code = info.si_code;
  *status = info.si_status;
  return 1;
}

int clinux_host_o_path(void) { return O_PATH; }

void clinux_host_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

const char *clinux_host_error_name(int error) { return strerrorname_np(error); }

int clinux_host_eventfd(void) { return result(eventfd(0, EFD_CLOEXEC)); }

int clinux_host_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

int clinux_host_epoll_add_once(int epoll, int descriptor, uint64_t token, int sending) {
  struct epoll_event event = {.events = (sending ? EPOLLOUT : EPOLLIN) | EPOLLONESHOT, .data.u64 = token};
  return result(epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event));
}

int clinux_host_epoll_remove(int epoll, int descriptor) {
  return result(epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, (void *)0));
}

int clinux_host_epoll_wait(int epoll, uint64_t *tokens, int count) {
  struct epoll_event events[64];
  int ready = epoll_wait(epoll, events, count < 64 ? count : 64, -1);
  if (ready < 0) return -errno;
  for (int i = 0; i < ready; i++) tokens[i] = events[i].data.u64;
  return ready;
}

static int control(int epoll, int operation, int descriptor, uint64_t token, int sending) {
  struct epoll_event event = {.events = EPOLLIN | (sending ? EPOLLOUT : 0), .data.u64 = token};
  return result(epoll_ctl(epoll, operation, descriptor, &event));
}

int clinux_host_epoll_add(int epoll, int descriptor, uint64_t token, int sending) {
  return control(epoll, EPOLL_CTL_ADD, descriptor, token, sending);
}

int clinux_host_epoll_change(int epoll, int descriptor, uint64_t token, int sending) {
  return control(epoll, EPOLL_CTL_MOD, descriptor, token, sending);
}

int clinux_host_epoll_reports(int epoll, struct clinux_epoll_report *reports, int count, int milliseconds) {
  struct epoll_event events[64];
  int ready = epoll_wait(epoll, events, count < 64 ? count : 64, milliseconds);
  if (ready < 0) return -errno;
  for (int i = 0; i < ready; i++) {
    reports[i].token = events[i].data.u64;
    reports[i].sending = (events[i].events & EPOLLOUT) != 0;
  }
  return ready;
}

int clinux_host_raise_open_files(void) {
  struct rlimit limits;
  if (getrlimit(RLIMIT_NOFILE, &limits) != 0) return -errno;
  limits.rlim_cur = limits.rlim_max;
  return result(setrlimit(RLIMIT_NOFILE, &limits));
}

int clinux_host_pipe(int ends[2]) { return result(pipe2(ends, O_CLOEXEC)); }

int clinux_host_set_pipe_capacity(int pipe, int bytes) { return result(fcntl(pipe, F_SETPIPE_SZ, bytes)); }

int clinux_host_socketpair(int ends[2]) { return result(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)); }

int clinux_host_take_descriptor(int socket, int *descriptor) {
  return clinux_take_descriptor(socket, descriptor);
}

int clinux_host_resize_terminal(int terminal, uint16_t width, uint16_t height) {
  return clinux_resize_terminal(terminal, width, height);
}

int clinux_host_set_nonblocking(int descriptor) { return result(fcntl(descriptor, F_SETFL, O_NONBLOCK)); }

int clinux_host_new_network(void) { return unshare(CLONE_NEWNET) != 0 ? -errno : clinux_host_raise_loopback(); }

int clinux_host_raise_loopback(void) {
  int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return -errno;
  struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int failed = result(ioctl(control, SIOCSIFFLAGS, &loopback));
  close(control);
  return failed;
}

int clinux_host_pin(int descriptor, const char *path) {
  int copy = (int)syscall(SYS_open_tree, descriptor, "", 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | AT_EMPTY_PATH);
  if (copy < 0) return -errno;
  int failed = result(syscall(SYS_move_mount, copy, "", AT_FDCWD, path, 0x4 /* the first path is empty */));
  close(copy);
  return failed;
}

int clinux_host_unpin(const char *path) { return result(syscall(SYS_umount2, path, 2 | 8 /* DETACH, NOFOLLOW */)); }
