// As CLinux has it: two modules must not see two definitions of one libc type.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <zlib.h>
