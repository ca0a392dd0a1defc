/// What RuntimeDefault allows: Linux's system calls sorted by what they can do to somebody else.
///
/// Everything that a program may do within its own user, namespaces and limits is allowed. Not allowed are calls that
/// reach the node (modules, clocks, mounts, reboot, tracing of the kernel), make new namespaces, or have a history of
/// holes out of proportion to their use in containers (keyrings, io_uring, userfaultfd, bpf). Some of these come back
/// with the capability that the kernel itself asks for.
///
/// A name that this machine's tables do not have is skipped. Calls from ``firstNumbered`` on are listed by number
/// below: libseccomp may be older than the kernel.
enum DefaultProfile {
  /// Allowed whatever the arguments.
  static let allowed =
    files + names + attributes + readiness + memory + processes + signals + credentials + scheduling
    + time + sockets + messages + oldInterfaces

  private static let files = words(
    """
    open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2
    lseek _llseek dup dup2 dup3 pipe pipe2 fcntl fcntl64 flock ioctl truncate truncate64 ftruncate ftruncate64 fallocate
    fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range copy_file_range sendfile sendfile64
    splice tee vmsplice fadvise64 fadvise64_64 arm_fadvise64_64 readahead memfd_create memfd_secret io_setup io_destroy
    io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64
    """)

  private static let names = words(
    """
    stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 access
    faccessat faccessat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat rename renameat renameat2
    mkdir mkdirat rmdir mknod mknodat getdents getdents64 getcwd chdir fchdir umask name_to_handle_at inotify_init
    inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
    """)

  private static let attributes = words(
    """
    chmod fchmod fchmodat chown chown32 fchown fchown32 fchownat lchown lchown32 utime utimes utimensat utimensat_time64
    futimesat getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr
    lremovexattr fremovexattr
    """)

  private static let readiness = words(
    """
    poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl
    epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4
    """)

  private static let memory = words(
    """
    brk mmap mmap2 munmap mprotect mremap msync madvise mincore mlock mlock2 mlockall munlock munlockall
    remap_file_pages pkey_alloc pkey_free pkey_mprotect membarrier process_mrelease
    """)

  private static let processes = words(
    """
    execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid getsid
    setsid pidfd_open prctl arch_prctl ptrace seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    set_tid_address set_robust_list get_robust_list set_thread_area get_thread_area modify_ldt rseq futex futex_time64
    futex_waitv restart_syscall getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname olduname
    oldolduname getcpu getrandom set_tls cacheflush breakpoint
    """)

  private static let signals = words(
    """
    kill tkill tgkill pidfd_send_signal pause sigaction sigprocmask sigpending sigsuspend signal sigreturn sigaltstack
    sgetmask ssetmask rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn
    """)

  private static let credentials = words(
    """
    getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32
    getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32
    setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset
    """)

  private static let scheduling = words(
    """
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
    sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set
    """)

  private static let time = words(
    """
    clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64 nanosleep
    gettimeofday time adjtimex clock_adjtime clock_adjtime64 alarm getitimer setitimer timer_create timer_settime
    timer_settime64 timer_gettime timer_gettime64 timer_getoverrun timer_delete timerfd_create timerfd_settime
    timerfd_settime64 timerfd_gettime timerfd_gettime64
    """)

  /// Those that make a socket are in ``socketFamilies``.
  private static let sockets = words(
    """
    socketpair bind listen accept accept4 connect getsockname getpeername send sendto sendmsg sendmmsg recv recvfrom
    recvmsg recvmmsg recvmmsg_time64 shutdown getsockopt setsockopt
    """)

  private static let messages = words(
    """
    semget semop semtimedop semtimedop_time64 semctl shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl mq_open
    mq_unlink mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64 mq_notify mq_getsetattr
    """)

  /// 32-bit x86's one call for all of System V's messages, and its oldest forms.
  private static let oldInterfaces = words("ipc readdir")

  /// What a capability brings back.
  static let gated: [(capabilities: [Capability], calls: [String])] = [
    (
      [.sysAdmin],
      words(
        """
        mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr setns unshare
        clone clone3 sethostname setdomainname quotactl quotactl_fd lookup_dcookie fanotify_init
        """)
    ),
    ([.sysAdmin, .bpf], words("bpf")),
    ([.sysAdmin, .perfmon], words("perf_event_open")),
    ([.sysAdmin, .syslog], words("syslog")),
    ([.dacReadSearch], words("open_by_handle_at")),
    ([.sysBoot], words("reboot")),
    ([.sysChroot], words("chroot")),
    ([.sysModule], words("init_module finit_module delete_module")),
    ([.sysNice], words("get_mempolicy set_mempolicy set_mempolicy_home_node mbind migrate_pages move_pages")),
    ([.sysPacct], words("acct")),
    ([.sysPtrace], words("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev")),
    ([.sysRawio], words("iopl ioperm")),
    ([.sysTime], words("settimeofday stime clock_settime clock_settime64")),
    ([.sysTtyConfig], words("vhangup")),
  ]

  /// A test of one argument's lower 32 bits: the kernel's parameter is an int, so that a compare of all 64 would let
  /// through what differs from a denied value only above them.
  struct Masked: Sendable {
    var mask: UInt32
    var value: UInt32
  }

  /// Families of socket(2): all to 47 but AF_RXRPC (33), AF_ALG (38) and AF_VSOCK (40), as ranges of masked values.
  /// An allow list, because libseccomp joins several rules for a call by OR: "not 38" and "not 40" would allow both.
  static let socketFamilies = [
    Masked(mask: ~31, value: 0),  // 0-31
    Masked(mask: ~0, value: 32),
    Masked(mask: ~1, value: 34),  // 34, 35
    Masked(mask: ~1, value: 36),  // 36, 37
    Masked(mask: ~0, value: 39),
    Masked(mask: ~0, value: 41),
    Masked(mask: ~1, value: 42),  // 42, 43
    Masked(mask: ~3, value: 44),  // 44-47
  ]

  /// personality(2): PER_LINUX and PER_LINUX32, each also with UNAME26, and the question which it is.
  static let personalities: [UInt32] = [0x0, 0x8, 0x20000, 0x20008, 0xffff_ffff]

  /// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (clone(2)); none may be set.
  static let namespaceFlags: UInt32 = 0x7e02_0000

  // MARK: Calls by number

  /// From 424 on a call has one number on every architecture; from this one on we decide by it.
  static let firstNumbered: UInt32 = 451
  /// x32 has calls of its own from here to 547.
  static let firstOfX32: UInt32 = 512
  static let lastOfX32: UInt32 = 547

  enum Verdict: Sendable { case allow, refuse }

  /// Those that Linux 6.18 has; what is not here is answered ENOSYS, so that libraries fall back as on an older kernel.
  static func numbered(capabilities: UInt64) -> [(range: ClosedRange<UInt32>, verdict: Verdict)] {
    let mounts: Verdict = capabilities & Capability.sysAdmin.bit != 0 ? .allow : .refuse
    return [
      (451...456, .allow),  // cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue
      (457...458, mounts),  // statmount listmount
      (462...466, .allow),  // mseal setxattrat getxattrat listxattrat removexattrat
      (467...467, mounts),  // open_tree_attr
      (468...469, .allow),  // file_getattr file_setattr
    ]
  }

  private static func words(_ text: String) -> [String] { text.split(whereSeparator: \.isWhitespace).map(String.init) }
}
