// L16: fills a directory with files whose names are as long as names can be: filler PATH COUNT.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char name[256];
  if (argc != 3) return 2;
  int directory = open(argv[1], O_RDONLY | O_DIRECTORY);
  for (long number = 0; number < atol(argv[2]); number++) {
    memset(name, 'n', 250);
    snprintf(name + 230, sizeof name - 230, "%020ld", number);
    int file = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (file < 0) return 3;
    close(file);
  }
  return 0;
}
