// The kernel and libc for Swift code that has neither Foundation nor Glibc: declarations only, no policy.
#ifndef CLINUX_H
#define CLINUX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "libc.h"

#if __has_include("syscalls.h")
#include "syscalls.h"
#endif
#if __has_include("spawn_process.h")
#include "spawn_process.h"
#endif
#if __has_include("device_filter.h")
#include "device_filter.h"
#endif
#if __has_include("filesystem_calls.h")
#include "filesystem_calls.h"
#endif

#endif
