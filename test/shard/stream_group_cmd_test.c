/* Commands on groups of consumers (XGROUP, XACK, XACKDEL, XPENDING, XCLAIM, XAUTOCLAIM, XINFO):
 * above all what depends on the clock, which comparing with a real server cannot show. */
#include <criterion/criterion.h>

#include "test/shard/cmd_driver.h"

static struct world world;

static void start(void)
{
    world_init(&world, 4);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(stream_group, .init = start, .fini = stop);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static uint64_t changes(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++)
        sum += world.shards[i].stats.changes;
    return sum;
}

/* Messages 1-1 to 4-1, the first three delivered to c. */
static void deliver_three(void)
{
    run("XADD s 1-1 a 1");
    run("XADD s 2-1 a 2");
    run("XADD s 3-1 a 3");
    run("XADD s 4-1 a 4");
    run("XGROUP CREATE s g 0");
    run("XREADGROUP GROUP g c COUNT 3 STREAMS s >");
}

Test(stream_group, only_what_changes_something_says_so)
{
    deliver_three();
    static const struct {
        const char *line;
        uint64_t changes;
    } steps[] = {
        {"XGROUP CREATE s g 0", 0},
        {"XGROUP CREATE s h 0", 1},
        {"XGROUP CREATE new h 0 MKSTREAM", 1},
        {"XGROUP CREATECONSUMER s g c", 0},
        {"XGROUP CREATECONSUMER s g d", 1},
        {"XGROUP DELCONSUMER s g x", 0},
        {"XGROUP DELCONSUMER s g d", 1},
        {"XGROUP SETID s h 0", 1},
        {"XGROUP DESTROY s x", 0},
        {"XGROUP DESTROY s h", 1},
        {"XACK s g 9-9", 0},
        {"XACK s g 1-1", 1},
        {"XACKDEL s g IDS 1 1-1", 0},
        {"XPENDING s g", 0},
        {"XCLAIM s g c 100 2-1", 0},
        {"XCLAIM s g d 100 2-1", 1},
        {"XCLAIM s g d 100 2-1", 0},
        {"XCLAIM s g d 0 2-1", 1},
        {"XCLAIM s g d 100 2-1 LASTID 3-2", 1},
        {"XCLAIM s g d 100 2-1 LASTID 1-2", 0},
        {"XAUTOCLAIM s g d 100 0", 0},
        {"XAUTOCLAIM s g d 0 0", 1},
        {"XINFO STREAM s", 0},
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        uint64_t before = changes();
        const char *got = run(steps[i].line);
        cr_expect_eq(changes() - before, steps[i].changes, "%s: %s", steps[i].line, got);
    }
}

Test(stream_group, xpending_tells_idle_times_and_deliveries)
{
    deliver_three();
    world.now_ms += 50;
    run("XCLAIM s g d 0 2-1");
    world.now_ms += 7;
    expect("XPENDING s g - + 10",
           "*3\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:57\r\n:1\r\n"
           "*4\r\n$3\r\n2-1\r\n$1\r\nd\r\n:7\r\n:2\r\n"
           "*4\r\n$3\r\n3-1\r\n$1\r\nc\r\n:57\r\n:1\r\n");
    expect("XPENDING s g (1-1 + 1", "*1\r\n*4\r\n$3\r\n2-1\r\n$1\r\nd\r\n:7\r\n:2\r\n");
    expect("XPENDING s g - (3-1 10 c", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:57\r\n:1\r\n");
    expect("XPENDING s g IDLE 8 - + 1 c", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:57\r\n:1\r\n");
    expect("XPENDING s g IDLE 57 2 + 10", "*1\r\n*4\r\n$3\r\n3-1\r\n$1\r\nc\r\n:57\r\n:1\r\n");
    expect("XPENDING s g IDLE 58 - + 10", "*0\r\n");
    world.now_ms -= 1000;
    expect("XPENDING s g - + 1", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:0\r\n:1\r\n");
}

Test(stream_group, xclaim_sets_the_time_and_the_count)
{
    deliver_three();
    world.now_ms += 50;
    run("XCLAIM s g d 0 1-1 IDLE 9 RETRYCOUNT 40");
    run("XCLAIM s g d 50 2-1 TIME 1699999999000 JUSTID");
    run("XCLAIM s g d 51 3-1");
    run("XCLAIM s g d 0 4-1 FORCE IDLE -3");
    expect("XPENDING s g - + 10",
           "*4\r\n*4\r\n$3\r\n1-1\r\n$1\r\nd\r\n:9\r\n:40\r\n"
           "*4\r\n$3\r\n2-1\r\n$1\r\nd\r\n:1050\r\n:1\r\n"
           "*4\r\n$3\r\n3-1\r\n$1\r\nc\r\n:50\r\n:1\r\n"
           "*4\r\n$3\r\n4-1\r\n$1\r\nd\r\n:0\r\n:2\r\n");
}

Test(stream_group, xautoclaim_goes_on_and_names_what_is_gone)
{
    deliver_three();
    world.now_ms += 50;
    run("XDEL s 2-1");
    expect("XAUTOCLAIM s g d 51 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*1\r\n$3\r\n2-1\r\n");
    expect("XAUTOCLAIM s g d 50 0 COUNT 1",
           "*3\r\n$3\r\n3-1\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*0\r\n");
    expect("XAUTOCLAIM s g d 50 3-1 JUSTID", "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n3-1\r\n*0\r\n");
    expect("XPENDING s g - + 10",
           "*2\r\n*4\r\n$3\r\n1-1\r\n$1\r\nd\r\n:0\r\n:2\r\n"
           "*4\r\n$3\r\n3-1\r\n$1\r\nd\r\n:0\r\n:1\r\n");
}

Test(stream_group, xackdel_deletes_by_what_others_have_pending)
{
    deliver_three();
    run("XGROUP CREATE s h 0");
    run("XREADGROUP GROUP h c COUNT 2 STREAMS s >");
    expect("XACKDEL s g KEEPREF IDS 2 1-1 4-1", "*2\r\n:1\r\n:-1\r\n");
    expect("XACKDEL s g ACKED IDS 2 2-1 3-1", "*2\r\n:2\r\n:2\r\n");
    expect("XLEN s", ":3\r\n");
    expect("XPENDING s g", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    expect("XACKDEL s h IDS 2 1-1 1-1", "*2\r\n:1\r\n:-1\r\n");
    expect("XACKDEL s h ACKED IDS 1 2-1", "*1\r\n:1\r\n");
    run("XREADGROUP GROUP g c STREAMS s >");
    run("XREADGROUP GROUP h c STREAMS s >");
    expect("XACKDEL s g DELREF IDS 1 4-1", "*1\r\n:1\r\n");
    expect("XPENDING s h",
           "*4\r\n:1\r\n$3\r\n3-1\r\n$3\r\n3-1\r\n*1\r\n*2\r\n$1\r\nc\r\n$1\r\n1\r\n");
    expect("XLEN s", ":1\r\n");
}

Test(stream_group, xinfo_full_shows_groups_and_consumers)
{
    deliver_three();
    world.protocol = 3;
    world.now_ms += 5;
    run("XGROUP CREATECONSUMER s g d");
    const char *got = run("XINFO STREAM s FULL COUNT 1");
    const char *groups = strstr(got, "$6\r\ngroups\r\n");
    cr_assert(groups && got[0] == '%' && got[1] == '9');
    cr_expect_str_eq(groups,
                     "$6\r\ngroups\r\n*1\r\n%7\r\n$4\r\nname\r\n$1\r\ng\r\n"
                     "$17\r\nlast-delivered-id\r\n$3\r\n3-1\r\n$12\r\nentries-read\r\n:3\r\n"
                     "$3\r\nlag\r\n:1\r\n$9\r\npel-count\r\n:3\r\n"
                     "$7\r\npending\r\n*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:1700000000000\r\n:1\r\n"
                     "$9\r\nconsumers\r\n*2\r\n"
                     "%5\r\n$4\r\nname\r\n$1\r\nc\r\n$9\r\nseen-time\r\n:1700000000000\r\n"
                     "$11\r\nactive-time\r\n:1700000000000\r\n$9\r\npel-count\r\n:3\r\n"
                     "$7\r\npending\r\n*1\r\n*3\r\n$3\r\n1-1\r\n:1700000000000\r\n:1\r\n"
                     "%5\r\n$4\r\nname\r\n$1\r\nd\r\n$9\r\nseen-time\r\n:1700000000005\r\n"
                     "$11\r\nactive-time\r\n:-1\r\n$9\r\npel-count\r\n:0\r\n"
                     "$7\r\npending\r\n*0\r\n",
                     "%s", groups);
}

Test(stream_group, help_names_the_subcommands)
{
    cr_expect(strstr(run("XGROUP HELP"), "+CREATECONSUMER"));
    cr_expect(strstr(run("XINFO HELP"), "+CONSUMERS"));
}
