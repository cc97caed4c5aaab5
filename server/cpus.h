/* The CPUs that this process may use: how many, and pinning threads to them.
 *
 * Three limits count. The affinity mask (taskset, cpusets, Kubernetes' static policy) says which
 * CPUs; a cgroup's CPU quota says how much time on them. Docker's --cpus and Kubernetes' limits
 * are quotas: a host of 64 CPUs is then still seen in full, and 64 threads on a quota of 2 would
 * spend most of each period stopped.
 *
 * Called while the process starts. Sources: cgroups(7), the kernel's admin-guide/cgroup-v2.rst
 * (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us), sched_setaffinity(2). */
#pragma once

#include "proto/slice.h"

#define CPUS_MAX 8192 /* the kernel's own limit on x86-64 */

/* An affinity mask: bit i % 64 of word i / 64 is CPU i. */
struct cpus_mask {
    uint64_t words[CPUS_MAX / 64];
};

/* The calling thread's mask: save it before anything is pinned. False where the kernel refuses. */
bool cpus_read_mask(struct cpus_mask *mask);
uint32_t cpus_count(const struct cpus_mask *mask);
/* Pins the calling thread to the nth CPU of the mask, from 0, counting on from the first after the
 * last. False where that is not allowed, or the mask is empty. */
bool cpus_pin(const struct cpus_mask *mask, uint32_t nth);

/* A list as taskset writes it: "0-3,8", "0-15:2" (every second). False with errno set to EINVAL on
 * anything else, the empty list too. */
bool cpus_parse_list(struct slice list, struct cpus_mask *mask);
/* Lets the calling thread, and those it starts, use these CPUs only. False with errno. */
bool cpus_confine(const struct cpus_mask *mask);

/* CPUs in the calling thread's mask, but no more than the quota, rounded up. At least 1. */
uint32_t cpus_usable(void);
/* True where a CPU quota is set: spinning then wastes time that is needed later. */
bool cpus_quota_set(void);

/* Quotas in CPUs rounded up; 0: none, or not understood. */
uint32_t cpus_parse_v2(struct slice cpu_max);                  /* "150000 100000\n": 2 */
uint32_t cpus_parse_v1(struct slice quota_us, struct slice period_us);
/* The least quota on the way from this process's cgroups up to the root: `cgroups` is the text of
 * /proc/self/cgroup, `root` where cgroups are mounted. 0: none. */
uint32_t cpus_quota_under(const char *root, struct slice cgroups);
