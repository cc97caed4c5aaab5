/* How many CPUs: quota texts, walks through a made-up cgroup tree, and the mask of this machine.
 * The same walks for memory. */
#include "server/cpus.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/machine.h"

/* A cgroup mount of our own; files are made below it with their directories. */
static char root[] = "/tmp/lasca-cpus-XXXXXX";

static void make_root(void)
{
    cr_assert(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static void remove_root(void)
{
    if (access(root, F_OK) == 0)
        nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(cpus, .fini = remove_root);

static void make(const char *path, const char *text)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *cut = full + strlen(root) + 1; (cut = strchr(cut, '/')); cut++) {
        *cut = '\0';
        mkdir(full, 0700);
        *cut = '/';
    }
    FILE *f = fopen(full, "w");
    cr_assert(f, "%s", full);
    fputs(text, f);
    fclose(f);
}

static uint32_t quota(const char *cgroups)
{
    return cpus_quota_under(root, slice_of(cgroups));
}

static uint32_t parse_v2(const char *text)
{
    return cpus_parse_v2(slice_of(text));
}

static uint32_t parse_v1(const char *quota_us, const char *period_us)
{
    return cpus_parse_v1(slice_of(quota_us), slice_of(period_us));
}

Test(cpus, quotas_of_v2_round_up)
{
    cr_expect_eq(parse_v2("200000 100000\n"), 2);
    cr_expect_eq(parse_v2("150000 100000\n"), 2);
    cr_expect_eq(parse_v2("1000 100000"), 1);
    cr_expect_eq(parse_v2("18446744073709551615 1"), UINT32_MAX);
}

Test(cpus, quotas_of_v2_that_are_none)
{
    const char *none[] = {"max 100000\n", "", "\n", "100000", "100000 ", "100000 0", "0 100000",
                          "-1 100000", "x y", "100000  100000"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        cr_expect_eq(parse_v2(none[i]), 0, "'%s'", none[i]);
}

Test(cpus, quotas_of_v1)
{
    cr_expect_eq(parse_v1("250000\n", "100000\n"), 3);
    cr_expect_eq(parse_v1("-1\n", "100000\n"), 0);
    cr_expect_eq(parse_v1("100000\n", ""), 0);
}

Test(cpus, v2_takes_the_least_quota_upward)
{
    make_root();
    cr_expect_eq(quota("0::/a/b/c\n"), 0);
    make("/a/b/c/cpu.max", "800000 100000\n");
    cr_expect_eq(quota("0::/a/b/c\n"), 8);
    make("/a/cpu.max", "300000 100000\n");
    make("/a/b/cpu.max", "max 100000\n");
    cr_expect_eq(quota("0::/a/b/c\n"), 3);
    cr_expect_eq(quota("0::/other\n"), 0);
}

Test(cpus, a_container_sees_its_own_cgroup_as_root)
{
    make_root();
    make("/cpu.max", "150000 100000\n");
    cr_expect_eq(quota("0::/\n"), 2);
    cr_expect_eq(quota("0::/docker/0123\n"), 2);
    cr_expect_eq(quota("0::/../other\n"), 2);
}

Test(cpus, v1_reads_the_hierarchy_of_cpu)
{
    make_root();
    make("/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "400000\n");
    make("/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n");
    cr_expect_eq(quota("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/\n"), 4);
    cr_expect_eq(quota("4:cpuset:/docker/x\n"), 0);
    make("/cpu/cpu.cfs_quota_us", "100000\n");
    make("/cpu/cpu.cfs_period_us", "100000\n");
    cr_expect_eq(quota("4:cpu,cpuacct:/docker/x\n"), 1);
}

Test(cpus, odd_lines_are_passed_over)
{
    make_root();
    make("/cpu.max", "100000 100000\n");
    cr_expect_eq(quota(""), 0);
    cr_expect_eq(quota("\n\nx\n0:\n0::\n0::relative\n"), 0);
    cr_expect_eq(quota("junk\n0::/"), 1);
    char *longest = malloc(2 * PATH_MAX);
    memset(longest, 'a', 2 * PATH_MAX);
    memcpy(longest, "0::/", 4);
    longest[2 * PATH_MAX - 1] = '\0';
    cr_expect_eq(quota(longest), 0);
    free(longest);
}

Test(cpus, this_machine_has_some)
{
    struct cpus_mask mask;
    cr_assert(cpus_read_mask(&mask));
    uint32_t usable = cpus_usable();
    cr_expect(usable >= 1 && usable <= cpus_count(&mask));
    if (!cpus_quota_set())
        cr_expect_eq(usable, cpus_count(&mask));
}

Test(cpus, pinning_goes_round_the_mask)
{
    struct cpus_mask mask, now;
    cr_assert(cpus_read_mask(&mask));
    uint32_t count = cpus_count(&mask);
    int first = -1;
    for (uint32_t i = 0; i <= count; i++) {
        cr_assert(cpus_pin(&mask, i));
        cr_assert(cpus_read_mask(&now));
        cr_expect_eq(cpus_count(&now), 1);
        int cpu = sched_getcpu();
        cr_expect(mask.words[cpu / 64] >> (cpu % 64) & 1);
        if (i == 0)
            first = cpu;
    }
    cr_expect_eq(sched_getcpu(), first);
    struct cpus_mask empty = {{0}};
    cr_expect_not(cpus_pin(&empty, 0));
}

TestSuite(machine, .fini = remove_root);

static uint64_t memory_limit(const char *cgroups)
{
    return machine_memory_limit_under(root, slice_of(cgroups));
}

Test(machine, the_least_limit_on_memory_upward_counts)
{
    make_root();
    cr_expect_eq(memory_limit("0::/a/b\n"), 0);
    make("/a/memory.max", "1000000\n");
    make("/a/b/memory.max", "max\n");
    cr_expect_eq(memory_limit("0::/a/b\n"), 1000000);
    make("/a/b/memory.max", "5000\n");
    cr_expect_eq(memory_limit("0::/a/b\n"), 5000);
    cr_expect_eq(memory_limit("0::/a\n"), 1000000);
}

Test(machine, v1_reads_the_hierarchy_of_memory)
{
    make_root();
    make("/memory/docker/x/memory.limit_in_bytes", "7000\n");
    make("/memory/memory.limit_in_bytes", "9223372036854771712\n");
    cr_expect_eq(memory_limit("4:cpu,cpuacct:/docker/x\n"), 0);
    cr_expect_eq(memory_limit("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n"), 7000);
}

Test(machine, there_is_some_memory)
{
    cr_expect(machine_memory() > 1 << 20);
    cr_expect(machine_memory_usable() > 0 && machine_memory_usable() <= machine_memory());
}
