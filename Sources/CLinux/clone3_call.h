// clone3(2) with a stack for the child, for the daemon's own sources; nothing that Swift sees.
#ifndef CLINUX_CLONE3_CALL_H
#define CLINUX_CLONE3_CALL_H

#include <linux/sched.h>
#include <stddef.h>
#include <sys/syscall.h>

// The raw call: the child returns on its own stack, so it must enter `run_child` without touching the parent's frame.
#if defined(__x86_64__)
static long clone3_call(struct clone_args *arguments, size_t size, int (*entry)(void *), void *argument) {
  register int (*entry_register)(void *) __asm__("r8") = entry;
  register void *argument_register __asm__("r9") = argument;
  long value;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r9, %%rdi\n\t"
      "call *%%r8\n\t"
      "mov %%eax, %%edi\n\t"
      "mov %[exit], %%eax\n\t"
      "syscall\n\t"
      "hlt\n"
      "1:\n\t"
      : "=a"(value)
      : "a"(SYS_clone3), "D"(arguments), "S"(size), "r"(entry_register), "r"(argument_register), [exit] "i"(SYS_exit)
      : "rcx", "r11", "memory", "cc");
  return value;
}
#elif defined(__aarch64__)
static long clone3_call(struct clone_args *arguments, size_t size, int (*entry)(void *), void *argument) {
  register long x0 __asm__("x0") = (long)arguments;
  register long x1 __asm__("x1") = (long)size;
  register long x8 __asm__("x8") = SYS_clone3;
  register int (*x10)(void *) __asm__("x10") = entry;
  register void *x11 __asm__("x11") = argument;
  __asm__ volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x11\n\t"
      "blr x10\n\t"
      "mov x8, %[exit]\n\t"
      "svc #0\n\t"
      "brk #0\n"
      "1:\n\t"
      : "+r"(x0)
      : "r"(x1), "r"(x8), "r"(x10), "r"(x11), [exit] "i"(SYS_exit)
      : "memory", "cc");
  return x0;
}
#else
#error "clone3 on a stack of its own is written for x86_64 and aarch64"
#endif

#endif
