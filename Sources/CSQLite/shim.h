// As CLinux has it: two modules must not see two definitions of one libc type.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <sqlite3.h>
#include <sys/types.h>

// Of <fcntl.h>; Swift's Glibc does not have it.
int fallocate(int descriptor, int mode, off_t offset, off_t length);
