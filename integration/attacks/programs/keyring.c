// L33: prints the serial number of the session keyring, or the errno's name. Static; run as a container's program.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  long serial = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
  if (serial < 0) return printf("%s\n", strerrorname_np(errno)) < 0;
  return printf("%ld\n", serial) < 0;
}
