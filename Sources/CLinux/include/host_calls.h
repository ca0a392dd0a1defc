// System calls that the daemon makes and neither glibc 2.36 nor Swift's Glibc module offers. No policy.
#ifndef CLINUX_HOST_CALLS_H
#define CLINUX_HOST_CALLS_H

#include <stdint.h>
#include <sys/types.h>

// openat2(2). `flags` gets O_CLOEXEC. A descriptor, or -errno.
int clinux_host_openat2(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

// pidfd_open(2); the descriptor is close-on-exec. A descriptor, or -errno.
int clinux_host_pidfd_open(pid_t pid, unsigned int flags);

// pidfd_send_signal(2). 0, or -errno.
int clinux_host_pidfd_send_signal(int pidfd, int signal);

// waitid(2) on one child by its pidfd, without waiting.
// 1: reaped, *code is CLD_EXITED/CLD_KILLED/CLD_DUMPED and *status the code or signal; 0: still running; or -errno.
int clinux_host_reap(int pidfd, int *code, int *status);

// O_PATH of open(2), which Swift's Glibc module leaves out as a GNU extension.
int clinux_host_o_path(void);

// `ENOENT` for 2; a null pointer for a number without a name.
const char *clinux_host_error_name(int error);

// Names the calling thread for people (pthread_setname_np(3)): at most 15 bytes.
void clinux_host_name_thread(const char *name);

// eventfd(2), close-on-exec. A descriptor, or -errno.
int clinux_host_eventfd(void);

// epoll(7) for Swift, whose Glibc module leaves it out.
int clinux_host_epoll_create(void);
int clinux_host_epoll_add_once(int epoll, int descriptor, uint64_t token, int sending);
int clinux_host_epoll_remove(int epoll, int descriptor);
// Up to `count` tokens that became readable; waits without limit. A count, or -errno.
int clinux_host_epoll_wait(int epoll, uint64_t *tokens, int count);

// The same for sockets: reports input, and with `sending` room to send, for as long as there is any.
int clinux_host_epoll_add(int epoll, int descriptor, uint64_t token, int sending);
int clinux_host_epoll_change(int epoll, int descriptor, uint64_t token, int sending);
struct clinux_epoll_report {
  uint64_t token;
  int sending;  // there is room to send
};
// Waits for at most `milliseconds`, -1: without limit. A count, or -errno.
int clinux_host_epoll_reports(int epoll, struct clinux_epoll_report *reports, int count, int milliseconds);

// setrlimit(2): the soft RLIMIT_NOFILE becomes the hard one. 0, or -errno.
int clinux_host_raise_open_files(void);

// pipe2(2), both ends close-on-exec. 0, or -errno.
int clinux_host_pipe(int ends[2]);

// What a pipe holds, in bytes, rounded up (F_SETPIPE_SZ). The capacity, or -errno.
int clinux_host_set_pipe_capacity(int pipe, int bytes);

// A connected pair of Unix sockets that keep messages whole, both close-on-exec. 0, or -errno.
int clinux_host_socketpair(int ends[2]);

// Receives, without waiting, a message that may carry a descriptor: 1 with it (close-on-exec) or -1 in *descriptor,
// 0 when the other end is gone, -EAGAIN when none has come, or -errno.
int clinux_host_take_descriptor(int socket, int *descriptor);

// The size that the processes of a terminal see, in characters (TIOCSWINSZ). 0, or -errno.
int clinux_host_resize_terminal(int terminal, uint16_t width, uint16_t height);

// O_NONBLOCK for one open file. 0, or -errno.
int clinux_host_set_nonblocking(int descriptor);

// A new network namespace for the calling thread only, with its loopback up. 0, or -errno.
int clinux_host_new_network(void);

// Sets the loopback of the calling thread's network namespace up. 0, or -errno.
int clinux_host_raise_loopback(void);

// Gives the object of a descriptor a name: a bind mount of it on an existing file (open_tree(2), move_mount(2)).
// 0, or -errno.
int clinux_host_pin(int descriptor, const char *path);

// Takes a mount away, whoever still uses it; never follows a link. 0, or -errno.
int clinux_host_unpin(const char *path);

#endif
