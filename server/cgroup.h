/* The cgroups that this process is in, as directories to look for limits in.
 *
 * A limit on a process may stand in its own cgroup or in any above it; the least of them counts.
 * Version 2 has one tree, version 1 a tree for each controller or set of controllers; a system may
 * have both. A container may see its own cgroup as the root, or see a path that exists only
 * outside: directories that are missing say nothing.
 *
 * Source: cgroups(7), the kernel's admin-guide/cgroup-v2.rst. No state; any thread. */
#pragma once

#include "proto/slice.h"

#define CGROUP_FILE_MAX 256 /* bytes of a file in a cgroup that are read */

/* Calls visit for each directory that can limit `controller` ("cpu", "memory") of a process whose
 * /proc/self/cgroup has the text `cgroups`, with cgroups mounted at `root`. A directory may come
 * more than once, and need not exist. */
void cgroup_visit(const char *root, struct slice cgroups, const char *controller,
                  void (*visit)(void *context, const char *directory), void *context);
/* Of this process. */
void cgroup_visit_own(const char *controller,
                      void (*visit)(void *context, const char *directory), void *context);

/* A file's text, read to `to`, which has CGROUP_FILE_MAX bytes. Empty where there is no such. */
struct slice cgroup_read(const char *directory, const char *name, char *to);

/* Cuts the text at the first `separator`, which is dropped, and returns what stood before it. */
struct slice cgroup_take_until(struct slice *text, char separator);
