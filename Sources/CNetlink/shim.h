// What PodNetwork calls of libnl-3, libnl-route-3 and the kernel's route and netfilter interfaces.

// Without _GNU_SOURCE, as Swift's Glibc module and CLinux have it: two modules must not see two definitions of one libc
// type (fd_set), or a build fails now and then, by the order in which modules are made.
// The C library first: linux/libc-compat.h then leaves out what both define.
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <netlink/addr.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/addr.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/link/vxlan.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/route.h>
#include <netlink/route/tc.h>

// glibc declares these only for _GNU_SOURCE, which Swift's importer does not define.
extern const char *strerrorname_np(int number);
extern int setns(int descriptor, int type);
extern int unshare(int flags);

/// Name of an errno (strerrorname_np(3)), or NULL.
static inline const char *cnetlink_errno_name(int number) { return strerrorname_np(number); }

/// unshare(CLONE_NEWNET) for the calling thread only (unshare(2)); -1 with errno on failure.
static inline int cnetlink_unshare_network(void) { return unshare(0x40000000); }

/// Moves the calling thread into a network namespace (setns(2)); -1 with errno on failure.
static inline int cnetlink_enter_network(int descriptor) { return setns(descriptor, 0x40000000); }

/// A nonblocking eventfd(2), closed on exec; -1 with errno on failure.
static inline int cnetlink_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
