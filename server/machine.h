/* How much memory there is: what `maxmemory 75%` is a share of.
 *
 * A container sees the whole machine's memory in sysconf and /proc/meminfo; what it may use is the
 * least limit of its cgroups. Source: the kernel's admin-guide/cgroup-v2.rst (memory.max) and
 * cgroup-v1/memory.rst (memory.limit_in_bytes). No state; any thread. */
#pragma once

#include "proto/slice.h"

/* Bytes of physical memory. 0: the system does not say. */
uint64_t machine_memory(void);
/* Bytes that this process may use: the machine's, or a cgroup's limit where that is less. */
uint64_t machine_memory_usable(void);
/* The least limit on the way up, as cgroup_visit goes it. 0: none. */
uint64_t machine_memory_limit_under(const char *root, struct slice cgroups);
