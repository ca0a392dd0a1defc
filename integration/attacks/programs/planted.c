// L31, L32: leaves a mark where it is loaded or run; on the host the path is the canary's.
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void mark(void) {
  int file = open(CANARY, O_WRONLY | O_CREAT, 0644);
  if (file >= 0) {
    (void)!write(file, "loaded\n", 7);
    close(file);
  }
}
