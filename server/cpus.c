/* How many CPUs this process may use. See cpus.h. */
#include "server/cpus.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/number.h"

#define FILE_TEXT_MAX 64 /* bytes of a quota file: two numbers */

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

/* Cuts the text at the first `separator`, which is dropped, and returns what stood before it. */
static struct slice take_until(struct slice *text, char separator)
{
    const char *end = text->size ? memchr(text->data, separator, text->size) : NULL;
    struct slice before = {text->data, end ? (size_t)(end - text->data) : text->size};
    size_t taken = before.size + (end != NULL);
    *text = (struct slice){text->data + taken, text->size - taken};
    return before;
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
    struct slice line = take_until(&cpu_max, '\n');
    struct slice quota = take_until(&line, ' ');
    return whole_cpus(quota, line); /* "max" is no number, and no quota */
}

uint32_t cpus_parse_v1(struct slice quota_us, struct slice period_us)
{
    return whole_cpus(take_until(&quota_us, '\n'), take_until(&period_us, '\n'));
}

/* Up to `size` bytes of a file; empty where there is none. */
static struct slice read_text(const char *path, char *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return (struct slice){to, 0};
    size_t got = 0;
    ssize_t n;
    while (got < size && (n = read(fd, to + got, size - got)) > 0)
        got += (size_t)n;
    close(fd);
    return (struct slice){to, got};
}

static struct slice read_in(const char *directory, const char *name, char *to)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return (struct slice){to, 0};
    return read_text(path, to, FILE_TEXT_MAX);
}

/* Of one cgroup: a v2 directory has the first file, a v1 directory the other two. */
static uint32_t quota_in(const char *directory)
{
    char a[FILE_TEXT_MAX], b[FILE_TEXT_MAX];
    uint32_t v2 = cpus_parse_v2(read_in(directory, "cpu.max", a));
    if (v2)
        return v2;
    return cpus_parse_v1(read_in(directory, "cpu.cfs_quota_us", a),
                         read_in(directory, "cpu.cfs_period_us", b));
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* From the cgroup `path` up to the hierarchy's root. A container may see its own cgroup as the
 * root, or see a path that exists only outside: directories that are missing say nothing. */
static uint32_t quota_upward(const char *root, struct slice hierarchy, struct slice path)
{
    char directory[PATH_MAX];
    int n = snprintf(directory, sizeof directory, "%s/%.*s", root, (int)hierarchy.size,
                     hierarchy.size ? hierarchy.data : "");
    if (n < 0 || (size_t)n + path.size >= sizeof directory)
        return 0;
    char *base = directory + n;
    memcpy(base, path.data, path.size);
    base[path.size] = '\0';
    uint32_t quota = quota_in(directory);
    for (char *cut; (cut = strrchr(base, '/'));) {
        *cut = '\0';
        quota = least(quota, quota_in(directory));
    }
    return quota;
}

static bool has_cpu(struct slice controllers)
{
    while (controllers.size) {
        if (slice_equal(take_until(&controllers, ','), SLICE("cpu")))
            return true;
    }
    return false;
}

/* A line is "id:controllers:path"; v2's is "0::path". A v1 hierarchy is mounted under the list of
 * its controllers, and as a rule under "cpu" too. */
uint32_t cpus_quota_under(const char *root, struct slice cgroups)
{
    uint32_t quota = 0;
    while (cgroups.size) {
        struct slice path = take_until(&cgroups, '\n');
        struct slice id = take_until(&path, ':');
        struct slice controllers = take_until(&path, ':');
        if (!path.size || path.data[0] != '/')
            continue;
        if (slice_equal(id, SLICE("0")) && !controllers.size)
            quota = least(quota, quota_upward(root, controllers, path));
        if (!has_cpu(controllers))
            continue;
        quota = least(quota, quota_upward(root, controllers, path));
        quota = least(quota, quota_upward(root, SLICE("cpu"), path));
    }
    return quota;
}

static uint32_t own_quota(void)
{
    char text[8192];
    return cpus_quota_under("/sys/fs/cgroup", read_text("/proc/self/cgroup", text, sizeof text));
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
