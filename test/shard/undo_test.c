/* Undo: commands that write are noted, run and taken back, and everything is as it was. See
 * undo_model_test.c for the same at random. */
#include <criterion/criterion.h>

#include "test/shard/undo_digest.h"
#include "test/shard/undo_driver.h"

#define BIG 700 /* elements of the large collections */

static struct world world;

/* A line whose words are separated by blanks; words after '@' are keys. */
static struct request request_of(const char *line)
{
    struct request r = {.argc = 0};
    while (*line) {
        size_t size = strcspn(line, " ");
        if (*line == '@') {
            r.keys[r.key_count++] = r.argc;
            line++;
            size--;
        }
        r.argv[r.argc++] = (struct slice){line, size};
        line += size + (line[size] == ' ');
    }
    return r;
}

static bool note_and_run(struct undo *u, const char *line)
{
    struct request r = request_of(line);
    return run_noted(&world, u, &r);
}

/* --- Fixtures --- */

static const char *run(const char *line)
{
    return world_run(&world, line);
}

/* One large value of each type, more than a copy is made of. */
static void fill_big(const char *suffix, uint32_t count)
{
    char line[256];
    for (uint32_t i = 0; i < count; i++) {
        const char *const lines[] = {
            "SADD e%s member-of-some-length-%u",
            "HSET h%s member-of-some-length-%u value-of-some-length-%u",
            "RPUSH l%s element-of-some-length-%u",
        };
        for (size_t n = 0; n < sizeof(lines) / sizeof(lines[0]); n++) {
            snprintf(line, sizeof(line), lines[n], suffix, i, i);
            run(line);
        }
        snprintf(line, sizeof(line), "ZADD z%s %u.5 member-of-some-length-%u", suffix, i, i);
        run(line);
        snprintf(line, sizeof(line), "XADD x%s %u-1 field value-of-some-length-%u-%064u", suffix,
                 i + 1, i, i);
        run(line);
    }
    snprintf(line, sizeof(line), "SETRANGE s%s 70000 end", suffix);
    run(line);
    snprintf(line, sizeof(line), "XGROUP CREATE x%s group 0", suffix);
    run(line);
}

static void start(void)
{
    world_init(&world, 2);
    world.no_touch = true;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(undo, .init = start, .fini = stop);

static void expect_undone(const char *line)
{
    struct undo u;
    undo_init(&u);
    uint64_t before = digest_world(&world);
    world.now_ms += 5000;
    uint64_t later = digest_world(&world);
    cr_assert_eq(before, later);
    cr_assert(note_and_run(&u, line), "%s could not be noted", line);
    bool changed = digest_world(&world) != before;
    cr_assert(changed, "%s changed nothing: %s", line, world.out.data);
    undo_take_back(&u);
    cr_assert_eq(digest_world(&world), before, "%s", line);
    undo_drop(&u);
    cr_assert_eq(u.bytes, 0);
}

/* --- What is to be kept of large values --- */

static void expect_all_undone(const char *const *lines)
{
    fill_big("big", BIG);
    fill_big("small", 3);
    for (; *lines; lines++)
        expect_undone(*lines);
}

Test(undo, elements_of_large_collections_are_taken_back)
{
    expect_all_undone((const char *const[]){
        "SADD @ebig a b a", "SREM @ebig member-of-some-length-3 no", "ZADD @zbig 1 a 2 b",
        "SMOVE @ebig @esmall member-of-some-length-3",
        "SMOVE @esmall @ebig member-of-some-length-2",
        "SMOVE @ebig @new member-of-some-length-9", "ZADD @zbig CH 1 a 7 member-of-some-length-3",
        "ZADD @zbig INCR 4 member-of-some-length-3", "ZINCRBY @zbig 3 member-of-some-length-3",
        "ZREM @zbig member-of-some-length-3 x", "ZPOPMIN @zbig", "ZPOPMAX @zbig 3",
        "ZPOPMIN @zbig 10000", "ZMPOP 2 @none @zbig MAX COUNT 2", "ZREMRANGEBYSCORE @zbig -inf (8",
        "ZREMRANGEBYRANK @zbig -3 -1", "ZREMRANGEBYLEX @zbig - +", "BZPOPMIN @none @zbig 0",
        "BZMPOP 0 1 @zbig MIN", "GEOADD @zbig 13.3 38.1 palermo", "HSET @hbig a 1 b 2",
        "HSET @hbig member-of-some-length-3 other", "HSETNX @hbig a 1", "HMSET @hbig a 1",
        "HINCRBY @hbig a 3", "HINCRBYFLOAT @hbig a 3.5", "HDEL @hbig member-of-some-length-3 no",
        "HEXPIRE @hbig 100 FIELDS 1 member-of-some-length-3",
        "HGETDEL @hbig FIELDS 1 member-of-some-length-4",
        "HSETEX @hbig EX 10 FIELDS 1 member-of-some-length-4 x", NULL});
}

Test(undo, elements_of_large_lists_are_taken_back)
{
    expect_all_undone((const char *const[]){
        "LPUSH @lbig a b c", "RPUSH @lbig a b c", "LPUSHX @lbig a", "RPUSHX @lbig a b",
        "LPOP @lbig", "LPOP @lbig 3", "RPOP @lbig 3", "LPOP @lbig 10000",
        "LSET @lbig 5 other", "LSET @lbig -5 other", "LTRIM @lbig 5 -3", "LTRIM @lbig 1 0",
        "LREM @lbig 0 element-of-some-length-8", "LREM @lbig -1 element-of-some-length-8",
        "LINSERT @lbig BEFORE element-of-some-length-8 x", "BRPOP @none @lbig 0",
        "LINSERT @lbig AFTER element-of-some-length-8 x", "LMOVE @lbig @lbig LEFT RIGHT",
        "LMOVE @lbig @lsmall LEFT RIGHT", "LMOVE @lsmall @lbig RIGHT LEFT", "BLPOP @lbig 0",
        "LMOVE @lbig @new RIGHT RIGHT", "RPOPLPUSH @lbig @lbig", "RPOPLPUSH @lbig @new",
        "LMPOP 2 @none @lbig RIGHT COUNT 3", "BLMOVE @lbig @new LEFT LEFT 0", NULL});
}

Test(undo, what_happens_to_large_values_as_a_whole_is_taken_back)
{
    expect_all_undone((const char *const[]){
        "DEL @ebig @hbig @zbig @lbig @xbig @sbig", "UNLINK @ebig", "SET @ebig x", "SET @sbig x",
        "MSET @sbig x @lbig y", "RENAME @ebig @hbig", "RENAME @ebig @new", "RENAMENX @xbig @new",
        "MOVE @zbig 3", "EXPIRE @ebig 100", "EXPIRE @ebig -1", "PEXPIREAT @hbig 1800000000000",
        "COPY @hbig @new", "COPY @hbig @new DB 3", "COPY @hbig @new REPLACE DB 0",
        "SORT @lbig ALPHA STORE @new", "SUNIONSTORE @new @ebig @ebig", "APPEND @sbig more",
        "SETRANGE @sbig 69990 over-the-end-of-it", "SETBIT @sbig 80000 1", "XADD @xbig * a b",
        "SETRANGE @sbig 90000 x", "SETBIT @sbig 8000000 1", "XADD @xbig 9999-1 field value", NULL});
}

Test(undo, a_large_value_under_a_new_name_is_taken_back_with_what_happened_to_it_there)
{
    fill_big("big", BIG);
    uint64_t before = digest_world(&world);
    struct undo u;
    undo_init(&u);
    static const char *const lines[] = {
        "SADD @ebig first", "RENAME @ebig @there", "SADD @there second", "SADD @ebig anew",
        "RENAME @there @hbig", "SREM @hbig first member-of-some-length-1", "SET @ebig string",
        "RENAME @hbig @ebig", "MOVE @ebig 2", "RENAME @zbig @ebig", "DEL @ebig", "SET @there x",
        "EXPIRE @lbig 10", "RENAME @lbig @there", "PERSIST @there", "RPUSH @there x",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        cr_assert(note_and_run(&u, lines[i]), "%s", lines[i]);
    undo_take_back(&u);
    cr_assert_eq(digest_world(&world), before);
    undo_drop(&u);
}

Test(undo, what_cannot_be_told_beforehand_is_refused_and_nothing_noted)
{
    fill_big("big", BIG);
    uint64_t before = digest_world(&world);
    struct undo u;
    undo_init(&u);
    static const char *const lines[] = {
        "SPOP @ebig", "XTRIM @xbig MAXLEN 3", "XADD @xbig MAXLEN 3 * a b", "FLUSHALL",
        "XDEL @xbig 1-1", "SET @sbig x NX", "BITFIELD @sbig SET u8 0 1", "GETDEL @sbig",
        "SUNIONSTORE @hbig @ebig",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        cr_expect_not(note_and_run(&u, lines[i]), "%s", lines[i]);
        cr_expect_null(u.last, "%s", lines[i]);
    }
    cr_assert_eq(digest_world(&world), before);
    undo_drop(&u);
}

Test(undo, a_refused_command_gives_back_what_was_set_aside_for_it)
{
    fill_big("big", BIG);
    run("SET small 1");
    uint64_t before = digest_world(&world);
    struct undo u;
    undo_init(&u);
    cr_expect(note_and_run(&u, "SADD @ebig x"));
    cr_expect_not(note_and_run(&u, "MSETEX 2 @small 2 @sbig 3"));
    cr_expect(note_and_run(&u, "DEL @small"));
    undo_take_back(&u);
    cr_assert_eq(digest_world(&world), before);
    undo_drop(&u);
}

Test(undo, there_is_an_end_to_what_is_kept)
{
    struct undo u;
    undo_init(&u);
    char line[128];
    uint32_t noted = 0;
    run("SETRANGE source 60000 x");
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(line, sizeof(line), "COPY source key:%u", i);
        run(line);
        snprintf(line, sizeof(line), "SET @key:%u x XX", i);
        if (!note_and_run(&u, line))
            break;
        noted++;
    }
    cr_expect(noted > 100 && noted < 1000, "%u", noted);
    cr_expect(u.bytes < (size_t)20 << 20);
    undo_drop(&u);
}

Test(undo, a_key_is_copied_once)
{
    struct undo u;
    undo_init(&u);
    run("SET counter 5");
    for (uint32_t i = 0; i < 1000; i++)
        cr_assert(note_and_run(&u, "INCR @counter") && note_and_run(&u, "EXPIRE @counter 10"));
    cr_expect(u.bytes <= 1024, "%zu", u.bytes);
    undo_take_back(&u);
    undo_drop(&u);
    cr_expect_str_eq(run("GET counter"), "$1\r\n5\r\n");
    cr_expect_str_eq(run("TTL counter"), ":-1\r\n");
}

Test(undo, many_keys_are_taken_back)
{
    struct undo u;
    undo_init(&u);
    char line[128];
    run("SET key:77 old EX 100");
    run("SADD key:78 x");
    uint64_t before = digest_world(&world);
    for (uint32_t i = 0; i < 20000; i++) {
        snprintf(line, sizeof(line), "SET @key:%u %u", i * 7 % 5000, i);
        cr_assert(note_and_run(&u, line));
    }
    undo_take_back(&u);
    undo_drop(&u);
    cr_assert_eq(digest_world(&world), before);
    cr_expect_str_eq(run("DBSIZE"), ":2\r\n");
}

Test(undo, taking_back_causes_no_events_and_counts_no_changes)
{
    fill_big("big", 50);
    world.keyspace.options.notify = NOTIFY_ALL | NOTIFY_KEYSPACE;
    struct undo u;
    undo_init(&u);
    static const char *const lines[] = {
        "SADD @ebig x", "DEL @hbig", "RENAME @lbig @new", "LPOP @new", "SET @zbig x", "SET @n x",
        "EXPIRE @sbig 100",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        cr_assert(note_and_run(&u, lines[i]), "%s", lines[i]);
    struct event *marks[2];
    uint64_t changes[2];
    for (uint32_t i = 0; i < 2; i++) {
        marks[i] = event_mark(&world.shards[i].events);
        changes[i] = world.shards[i].stats.changes;
    }
    undo_take_back(&u);
    for (uint32_t i = 0; i < 2; i++) {
        cr_expect_eq(marks[i], event_mark(&world.shards[i].events));
        cr_expect_eq(changes[i], world.shards[i].stats.changes);
    }
    undo_drop(&u);
}
