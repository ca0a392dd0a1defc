// Without _GNU_SOURCE, as CNetlink says.
#include <archive.h>
#include <archive_entry.h>
