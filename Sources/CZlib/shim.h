// Without _GNU_SOURCE, as CNetlink says.
#include <zlib.h>
