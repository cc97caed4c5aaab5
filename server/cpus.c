/* How many CPUs this process may use. See cpus.h. */
#include "server/cpus.h"

#include <errno.h>
#include <sched.h>

#include "proto/number.h"
#include "server/cgroup.h"

bool cpus_read_mask(struct cpus_mask *mask)
{
    *mask = (struct cpus_mask){{0}};
    return sched_getaffinity(0, sizeof *mask, (cpu_set_t *)(void *)mask) == 0;
}

uint32_t cpus_count(const struct cpus_mask *mask)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < CPUS_MAX / 64; i++)
        n += (uint32_t)__builtin_popcountll(mask->words[i]);
    return n;
}

bool cpus_pin(const struct cpus_mask *mask, uint32_t nth)
{
    uint32_t count = cpus_count(mask);
    if (!count)
        return false;
    uint32_t cpu = 0;
    for (uint32_t left = nth % count;; cpu++) {
        if (mask->words[cpu / 64] >> (cpu % 64) & 1 && !left--)
            break;
    }
    struct cpus_mask one = {{0}};
    one.words[cpu / 64] = UINT64_C(1) << (cpu % 64);
    return sched_setaffinity(0, sizeof one, (cpu_set_t *)(void *)&one) == 0;
}

/* "3", "0-7", "0-7:2". */
static bool add_range(struct slice range, struct cpus_mask *mask)
{
    uint64_t first, last, step = 1;
    bool has_step = range.size && memchr(range.data, ':', range.size);
    struct slice ends = cgroup_take_until(&range, ':');
    bool has_last = ends.size && memchr(ends.data, '-', ends.size);
    if (!number_parse_unsigned(cgroup_take_until(&ends, '-'), &first))
        return false;
    last = first;
    if (has_last && !number_parse_unsigned(ends, &last))
        return false;
    if (has_step && !number_parse_unsigned(range, &step))
        return false;
    if (last < first || last >= CPUS_MAX || !step)
        return false;
    for (uint64_t cpu = first; cpu <= last; cpu += step < CPUS_MAX ? step : CPUS_MAX)
        mask->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
    return true;
}

bool cpus_parse_list(struct slice list, struct cpus_mask *mask)
{
    *mask = (struct cpus_mask){{0}};
    bool ok = list.size != 0;
    while (ok && list.size)
        ok = add_range(cgroup_take_until(&list, ','), mask);
    if (!ok)
        errno = EINVAL;
    return ok;
}

bool cpus_confine(const struct cpus_mask *mask)
{
    return sched_setaffinity(0, sizeof *mask, (const cpu_set_t *)(const void *)mask) == 0;
}

static uint32_t whole_cpus(struct slice quota_us, struct slice period_us)
{
    uint64_t quota, period;
    if (!number_parse_unsigned(quota_us, &quota) || !number_parse_unsigned(period_us, &period))
        return 0;
    if (!quota || !period)
        return 0;
    uint64_t cpus = quota / period + (quota % period != 0);
    return cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

uint32_t cpus_parse_v2(struct slice cpu_max)
{
    struct slice line = cgroup_take_until(&cpu_max, '\n');
    struct slice quota = cgroup_take_until(&line, ' ');
    return whole_cpus(quota, line); /* "max" is no number, and no quota */
}

uint32_t cpus_parse_v1(struct slice quota_us, struct slice period_us)
{
    return whole_cpus(cgroup_take_until(&quota_us, '\n'), cgroup_take_until(&period_us, '\n'));
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* Of one cgroup: a v2 directory has the first file, a v1 directory the other two. */
static void take_quota(void *context, const char *directory)
{
    char a[CGROUP_FILE_MAX], b[CGROUP_FILE_MAX];
    uint32_t *quota = context;
    uint32_t own = cpus_parse_v2(cgroup_read(directory, "cpu.max", a));
    if (!own)
        own = cpus_parse_v1(cgroup_read(directory, "cpu.cfs_quota_us", a),
                            cgroup_read(directory, "cpu.cfs_period_us", b));
    *quota = least(*quota, own);
}

uint32_t cpus_quota_under(const char *root, struct slice cgroups)
{
    uint32_t quota = 0;
    cgroup_visit(root, cgroups, "cpu", take_quota, &quota);
    return quota;
}

static uint32_t own_quota(void)
{
    uint32_t quota = 0;
    cgroup_visit_own("cpu", take_quota, &quota);
    return quota;
}

bool cpus_quota_set(void)
{
    return own_quota() != 0;
}

uint32_t cpus_usable(void)
{
    struct cpus_mask mask;
    uint32_t count = cpus_read_mask(&mask) ? cpus_count(&mask) : 0;
    uint32_t usable = least(own_quota(), count);
    return usable ? usable : 1;
}
