#include <seccomp.h>

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

// memfd_create(2) with MFD_CLOEXEC, which Swift's Glibc module leaves out. A descriptor, or -errno.
static inline int cseccomp_memory_file(const char *name) {
  long descriptor = syscall(SYS_memfd_create, name, 1U);
  return descriptor < 0 ? -errno : (int)descriptor;
}

// Macros that Swift does not import.
static inline uint32_t cseccomp_errno_action(unsigned short error) { return SCMP_ACT_ERRNO(error); }
static inline uint32_t cseccomp_trace_action(unsigned short message) { return SCMP_ACT_TRACE(message); }
static inline uint32_t cseccomp_allow_action(void) { return SCMP_ACT_ALLOW; }
static inline uint32_t cseccomp_log_action(void) { return SCMP_ACT_LOG; }
static inline uint32_t cseccomp_trap_action(void) { return SCMP_ACT_TRAP; }
static inline uint32_t cseccomp_kill_thread_action(void) { return SCMP_ACT_KILL_THREAD; }
static inline uint32_t cseccomp_kill_process_action(void) { return SCMP_ACT_KILL_PROCESS; }
static inline uint32_t cseccomp_architecture_x86_64(void) { return SCMP_ARCH_X86_64; }
static inline uint32_t cseccomp_architecture_x86(void) { return SCMP_ARCH_X86; }
static inline uint32_t cseccomp_architecture_x32(void) { return SCMP_ARCH_X32; }
static inline uint32_t cseccomp_architecture_aarch64(void) { return SCMP_ARCH_AARCH64; }
static inline uint32_t cseccomp_architecture_arm(void) { return SCMP_ARCH_ARM; }

// The name of an errno ("EPERM"), or NULL; glibc's strerrorname_np, which is hidden without _GNU_SOURCE.
extern const char *strerrorname_np(int error);
static inline const char *cseccomp_errno_name(int error) { return strerrorname_np(error); }
