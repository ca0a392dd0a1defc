// The kernel for Swift, as far as Swift cannot spell it: declarations and thin calls, no policy.
#ifndef CLINUX_H
#define CLINUX_H

// The daemon's rooms have libc from Swift's Glibc module, and what lies here for them keeps to types of its own: a
// second view of libc's types beside that module's is an error. The shim and pause have no such module; they define
// CLINUX_WITH_LIBC and get all of libc from here.
#ifdef CLINUX_WITH_LIBC
#include "libc.h"
#include "syscalls.h"
#endif

// What Swift's Glibc module leaves out.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "device_filter.h"
#include "filesystem_calls.h"
#include "overlay_layers.h"
#include "spawn_process.h"
#include "user_namespace.h"

#endif
