// H5: says in JSON what a process of a container is and may do. Static; run as a container's program and by exec.
//
// Every system call is made in a child of its own with arguments that do nothing: a descriptor of -1, an empty path, a
// null pointer. What comes back tells who refused: the filter (EPERM, ENOSYS), or the kernel after it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool first;

static void quoted(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text < 32) printf("\\u%04x", *text);
    else putchar(*text);
  }
  putchar('"');
}

static void begin(const char *name, char bracket) {
  printf("%s\n ", first ? "" : ",");
  quoted(name);
  printf(": %c", bracket);
  first = true;
}

static void end(char bracket) {
  printf("\n %c", bracket);
  first = false;
}

static void key(const char *name) {
  printf("%s\n  ", first ? "" : ",");
  first = false;
  quoted(name);
  printf(": ");
}

static void pair(const char *name, const char *value) {
  key(name);
  quoted(value);
}

static void number(const char *name, long value) {
  key(name);
  printf("%ld", value);
}

static void item(const char *value) {
  printf("%s\n  ", first ? "" : ",");
  first = false;
  quoted(value);
}

static const char *outcome(long result) { return result >= 0 ? "ok" : strerrorname_np(errno); }

// Each line of a file.
static void lines(const char *name, const char *path) {
  char line[8192];
  begin(name, '[');
  FILE *file = fopen(path, "re");
  if (!file) item(strerrorname_np(errno));
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    item(line);
  }
  if (file) fclose(file);
  end(']');
}

static void status(void) {
  static const char *const wanted[] = {"Umask", "Uid", "Gid", "Groups", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt",
                                       "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
                                       "Seccomp_filters", "Threads", "Cpus_allowed_list"};
  char line[4096];
  FILE *file = fopen("/proc/self/status", "re");
  begin("status", '{');
  while (file && fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon) continue;
    *colon = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
      if (strcmp(wanted[i], line)) continue;
      char *value = colon + 1 + strspn(colon + 1, " \t");
      value[strcspn(value, "\n")] = 0;
      for (size_t last = strlen(value); last && value[last - 1] == ' ';) value[--last] = 0;
      pair(line, value);
    }
  }
  if (file) fclose(file);
  end('}');
}

static void link_of(const char *name, const char *path) {
  char target[4096];
  ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) {
    pair(name, strerrorname_np(errno));
  } else {
    target[length] = 0;
    pair(name, target);
  }
}

// Tried one by one: a directory that is read to list them would be one more.
static void descriptors(void) {
  char name[32], path[64];
  begin("descriptors", '{');
  for (int fd = 0; fd < 1024; fd++) {
    if (fcntl(fd, F_GETFD) < 0) continue;
    snprintf(name, sizeof name, "%d", fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    link_of(name, path);
  }
  end('}');
}

// How each is open, in octal as /proc/self/fdinfo has it.
static void open_flags(void) {
  char name[32], text[32];
  begin("open flags", '{');
  for (int fd = 0; fd < 1024; fd++) {
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) continue;
    snprintf(name, sizeof name, "%d", fd);
    snprintf(text, sizeof text, "%#o", flags);
    pair(name, text);
  }
  end('}');
}

// What a security module says of this process; an errno where there is none.
static void module(void) {
  char text[256];
  int file = open("/proc/self/attr/current", O_RDONLY | O_CLOEXEC);
  long count = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (count >= 0) text[count] = 0;
  if (count > 0) text[strcspn(text, "\n")] = 0;
  pair("security module", count < 0 ? strerrorname_np(errno) : text);
  if (file >= 0) close(file);
}

static void namespaces(void) {
  static const char *const kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
  char path[64];
  begin("namespaces", '{');
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
    link_of(kinds[i], path);
  }
  end('}');
}

static void limits(void) {
  static const char *const names[] = {"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
                                      "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};
  begin("limits", '{');
  for (int i = 0; i < 16; i++) {
    struct rlimit limit;
    char text[64];
    getrlimit(i, &limit);
    snprintf(text, sizeof text, "%lld %lld", (long long)limit.rlim_cur, (long long)limit.rlim_max);
    pair(names[i], text);
  }
  end('}');
}

static void process(void) {
  char text[4096];
  begin("process", '{');
  pair("cwd", getcwd(text, sizeof text) ? text : strerrorname_np(errno));
  link_of("root", "/proc/self/root");
  number("session leader", getsid(0) == getpid());
  number("group leader", getpgrp() == getpid());
  pair("/dev/tty", outcome(open("/dev/tty", O_RDWR | O_CLOEXEC)));
  number("dumpable", prctl(PR_GET_DUMPABLE));
  number("keepcaps", prctl(PR_GET_KEEPCAPS));
  number("securebits", prctl(PR_GET_SECUREBITS));
  number("timer slack", prctl(PR_GET_TIMERSLACK));
  int value = -1;
  prctl(PR_GET_PDEATHSIG, &value);
  number("signal of parent's death", value);
  value = -1;
  prctl(PR_GET_CHILD_SUBREAPER, &value);
  number("subreaper", value);
  number("personality", personality(0xffffffff));
  errno = 0;
  number("nice", getpriority(PRIO_PROCESS, 0));
  number("scheduler", sched_getscheduler(0));
  FILE *file = fopen("/proc/self/oom_score_adj", "re");
  if (file && fgets(text, sizeof text, file)) {
    text[strcspn(text, "\n")] = 0;
    pair("oom_score_adj", text);
  }
  if (file) fclose(file);
  module();
  end('}');
}

// What reading a path gives: its first byte, nothing, or an errno; of a directory, how many names.
static void reads(int count, char **paths) {
  begin("reads", '{');
  for (int i = 0; i < count; i++) {
    char byte;
    int file = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat facts;
    if (file < 0) {
      pair(paths[i], strerrorname_np(errno));
    } else if (fstat(file, &facts) == 0 && S_ISDIR(facts.st_mode)) {
      char names[32768];
      long got = syscall(SYS_getdents64, file, names, sizeof names);
      pair(paths[i], got < 0 ? strerrorname_np(errno) : got <= 48 ? "empty directory" : "directory");
    } else {
      ssize_t got = read(file, &byte, 1);
      pair(paths[i], got < 0 ? strerrorname_np(errno) : got == 0 ? "empty" : "content");
    }
    if (file >= 0) close(file);
  }
  end('}');
}

// Opens for writing and closes again.
static void writes(void) {
  static const char *const paths[] = {
      "/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
      "/proc/self/oom_score_adj", "/proc/self/uid_map", "/sys/kernel/mm/transparent_hugepage/enabled",
      "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
      "/dev/mem", "/dev/kmsg", "/dev/null"};
  begin("writes", '{');
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    int file = open(paths[i], O_WRONLY | O_CLOEXEC);
    pair(paths[i], outcome(file));
    if (file >= 0) close(file);
  }
  pair("mkdir /sys/fs/cgroup/x", outcome(mkdir("/sys/fs/cgroup/x", 0755)));
  end('}');
}

struct call {
  const char *name;
  long number;
  long arguments[6];
};

#define X32 0x40000000
#define CALL(name, ...) {#name, SYS_##name, {__VA_ARGS__}}
#define AS(label, number, ...) {label, number, {__VA_ARGS__}}
#define EMPTY (long)""

static const struct call calls[] = {
    // of mounts, roots and namespaces
    CALL(mount, 0, 0, 0, 0, 0), CALL(umount2, EMPTY, 0), CALL(pivot_root, 0, 0), CALL(chroot, (long)"/"),
    CALL(fsopen, 0, 0), CALL(fsconfig, -1, 0, 0, 0, 0), CALL(fsmount, -1, 0, 0), CALL(fspick, -1, 0, 0),
    CALL(move_mount, -1, 0, -1, 0, 0), CALL(open_tree, -1, 0, 0), CALL(mount_setattr, -1, 0, 0, 0, 0),
    CALL(setns, -1, 0), AS("unshare", SYS_unshare, 0), AS("unshare user", SYS_unshare, CLONE_NEWUSER),
    AS("unshare mount", SYS_unshare, CLONE_NEWNS), AS("clone user", SYS_clone, CLONE_NEWUSER | SIGCHLD),
    AS("clone mount", SYS_clone, CLONE_NEWNS | SIGCHLD), AS("clone cgroup", SYS_clone, CLONE_NEWCGROUP | SIGCHLD),
    AS("clone", SYS_clone, SIGCHLD), CALL(clone3, 0, 0), AS("statmount", 457, 0, 0, 0, 0),
    AS("listmount", 458, 0, 0, 0, 0), AS("open_tree_attr", 467, -1, 0, 0, 0, 0),
    // of the node
    CALL(sethostname, 0, -1), CALL(setdomainname, 0, -1), CALL(reboot, 0, 0, 0, 0), CALL(swapon, EMPTY, 0),
    CALL(swapoff, EMPTY), CALL(init_module, 0, 0, 0), CALL(finit_module, -1, 0, 0), CALL(delete_module, EMPTY, 0),
    CALL(kexec_load, 0, 0, 0, -1), CALL(kexec_file_load, -1, -1, 0, 0, -1), CALL(acct, EMPTY),
    CALL(quotactl, -1, 0, 0, 0), CALL(quotactl_fd, -1, 0, 0, 0), CALL(syslog, 10, 0, 0), CALL(iopl, 0),
    CALL(ioperm, -1, -1, 0), CALL(settimeofday, 0, 0), CALL(clock_settime, -1, 0), CALL(clock_adjtime, -1, 0),
    CALL(vhangup), CALL(lookup_dcookie, 0, 0, 0), CALL(nfsservctl, 0, 0, 0), CALL(uselib, EMPTY), CALL(ustat, 0, 0),
    CALL(sysfs, 3), CALL(_sysctl, 0), CALL(create_module, 0, 0), CALL(query_module, 0, 0, 0, 0, 0),
    CALL(get_kernel_syms, 0), CALL(afs_syscall), CALL(tuxcall), CALL(security), CALL(getpmsg), CALL(putpmsg),
    CALL(vserver),
    // of the kernel's insides, with a history
    CALL(bpf, 0, 0, 0), CALL(perf_event_open, 0, 0, -1, -1, 0), CALL(userfaultfd, -1), CALL(io_uring_setup, 0, 0),
    CALL(io_uring_enter, -1, 0, 0, 0, 0, 0), CALL(io_uring_register, -1, 0, 0, 0), CALL(add_key, 0, 0, 0, 0, 0),
    CALL(request_key, 0, 0, 0, 0), CALL(keyctl, 0, -3, 0), AS("keyctl join", SYS_keyctl, 1, 0),
    CALL(open_by_handle_at, -1, 0, 0), CALL(name_to_handle_at, -1, 0, 0, 0, -1), CALL(fanotify_init, 0, 0),
    CALL(fanotify_mark, -1, 0, 0, 0, 0),
    // of other processes
    AS("ptrace", SYS_ptrace, 0x7777, -1, 0, 0), CALL(process_vm_readv, 0, 0, 0, 0, 0, -1),
    CALL(process_vm_writev, 0, 0, 0, 0, 0, -1), CALL(process_madvise, -1, 0, 0, 0, 0), CALL(pidfd_getfd, -1, -1, 0),
    CALL(pidfd_open, -1, 0), CALL(pidfd_send_signal, -1, 0, 0, 0), CALL(kcmp, -1, -1, 0, 0, 0), CALL(kill, 0, 0),
    CALL(mbind, 0, 0, -1, 0, 0, 0), CALL(set_mempolicy, -1, 0, 0), CALL(get_mempolicy, 0, 0, 0, 0, -1),
    CALL(migrate_pages, 0, 0, 0, 0), CALL(move_pages, 0, 0, 0, 0, 0, -1),
    // sockets
    AS("socket unix", SYS_socket, AF_UNIX, SOCK_STREAM, 0), AS("socket inet", SYS_socket, AF_INET, SOCK_STREAM, 0),
    AS("socket inet6", SYS_socket, AF_INET6, SOCK_STREAM, 0), AS("socket netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0),
    AS("socket inet raw", SYS_socket, AF_INET, SOCK_RAW, 1), AS("socket packet", SYS_socket, AF_PACKET, SOCK_RAW, 0),
    AS("socket alg", SYS_socket, AF_ALG, SOCK_SEQPACKET, 0), AS("socket vsock", SYS_socket, AF_VSOCK, SOCK_STREAM, 0),
    AS("socket rxrpc", SYS_socket, AF_RXRPC, SOCK_DGRAM, AF_INET),
    AS("socket alg with high bits", SYS_socket, AF_ALG | 1L << 32, SOCK_SEQPACKET, 0),
    AS("socket 255", SYS_socket, 255, 0, 0), CALL(socketpair, -1, 0, 0, 0),
    // ordinary work
    CALL(read, -1, 0, 0), CALL(write, -1, 0, 0), CALL(openat, -100, EMPTY, 0), CALL(openat2, -1, 0, 0, 0),
    CALL(close_range, 9, 3, 0), CALL(statx, -1, 0, 0, 0, 0), CALL(mmap, 0, 0, 0, 0, -1, 0), CALL(munmap, 1, 0),
    CALL(mprotect, 1, 1, 0), CALL(memfd_create, 0, 0), CALL(ioctl, -1, 0, 0), CALL(fchmodat, -1, EMPTY, 0),
    CALL(mknodat, -1, EMPTY, 0, 0), CALL(setuid, -1), CALL(setgroups, -1, 0), CALL(capget, 0, 0),
    CALL(prctl, -1), CALL(seccomp, -1, 0, 0), CALL(execveat, -1, EMPTY, 0, 0, 0), CALL(futex, 0, -1, 0, 0, 0, 0),
    CALL(epoll_create1, -1), CALL(sched_setaffinity, -1, 0, 0), CALL(shmget, -1, 0, 0), CALL(mq_unlink, 0),
    AS("personality ask", SYS_personality, 0xffffffff), AS("personality no randomize", SYS_personality, 0x0040000),
    CALL(adjtimex, 0), CALL(landlock_restrict_self, -1, 0), CALL(rseq, 0, 0, -1, 0),
    AS("cachestat", 451, -1, 0, 0, 0), AS("fchmodat2", 452, -1, EMPTY, 0, 0), AS("mseal", 462, 1, 0, 0),
    AS("lsm_set_self_attr", 460, 0, 0, 0, 0), AS("call 600", 600), AS("x32 getpid", X32 | SYS_getpid),
    AS("x32 mount", X32 | SYS_mount, 0, 0, 0, 0, 0), AS("x32 keyctl", X32 | SYS_keyctl, 0, -3, 0),
    AS("x32 socket alg", X32 | SYS_socket, AF_ALG, SOCK_SEQPACKET, 0),
};

static void make(const struct call *call) {
  const long *a = call->arguments;
  long result = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
  _exit(result >= 0 ? 0 : errno);
}

static void try_calls(void) {
  begin("calls", '{');
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    char text[64];
    int ended;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) make(&calls[i]);
    if (child < 0 || waitpid(child, &ended, 0) != child) {
      snprintf(text, sizeof text, "not tried: %s", strerrorname_np(errno));
    } else if (WIFSIGNALED(ended)) {
      snprintf(text, sizeof text, "killed by %s", sigabbrev_np(WTERMSIG(ended)));
    } else {
      const char *name = WEXITSTATUS(ended) ? strerrorname_np(WEXITSTATUS(ended)) : "ok";
      snprintf(text, sizeof text, "%s", name ? name : "?");
    }
    pair(calls[i].name, text);
  }
  end('}');
}

int main(int count, char **arguments) {
  first = true;
  printf("{");
  status();
  descriptors();
  open_flags();
  lines("mounts", "/proc/self/mountinfo");
  lines("cgroup", "/proc/self/cgroup");
  namespaces();
  limits();
  process();
  reads(count - 1, arguments + 1);
  writes();
  try_calls();
  printf("\n}\n");
  return 0;
}
