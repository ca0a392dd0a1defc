// H3: exchanges two names for ever, as fast as it can. Static; run as a container's program.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  if (write(1, "ready\n", 6) != 6) return 3;
  for (;;) {
    if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) != 0) {
      perror("exchange");
      return 1;
    }
  }
}
