// Without _GNU_SOURCE, as CNetlink says.
#include <sqlite3.h>
#include <sys/types.h>

// Of <fcntl.h>; Swift's Glibc does not have it.
int fallocate(int descriptor, int mode, off_t offset, off_t length);
