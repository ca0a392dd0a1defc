// Without _GNU_SOURCE, as CNetlink says.
#include <nftables/libnftables.h>
