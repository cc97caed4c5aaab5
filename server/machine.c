/* How much memory there is: see machine.h. */
#include "server/machine.h"

#include <unistd.h>

#include "proto/number.h"
#include "server/cgroup.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* "max" is no number, and no limit. Version 1 says no limit with a number near 2^63, which is more
 * than any machine has. */
static uint64_t limit_in(const char *directory, const char *name)
{
    char text[CGROUP_FILE_MAX];
    struct slice line = cgroup_read(directory, name, text);
    uint64_t bytes;
    return number_parse_unsigned(cgroup_take_until(&line, '\n'), &bytes) ? bytes : 0;
}

static void take_limit(void *context, const char *directory)
{
    uint64_t *limit = context;
    *limit = least(*limit, limit_in(directory, "memory.max"));
    *limit = least(*limit, limit_in(directory, "memory.limit_in_bytes"));
}

uint64_t machine_memory_limit_under(const char *root, struct slice cgroups)
{
    uint64_t limit = 0;
    cgroup_visit(root, cgroups, "memory", take_limit, &limit);
    return limit;
}

uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

uint64_t machine_memory_usable(void)
{
    uint64_t limit = 0;
    cgroup_visit_own("memory", take_limit, &limit);
    return least(machine_memory(), limit);
}
