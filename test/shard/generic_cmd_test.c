/* Commands on keys and databases: DEL ... TYPE, EXPIRE ... TTL, OBJECT, SCAN, KEYS, RANDOMKEY,
 * FLUSHALL. SCAN's guarantee is checked by property, over shards that grow and shrink meanwhile. */
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

TestSuite(generic, .init = start, .fini = stop);
TestSuite(expire, .init = start, .fini = stop);
TestSuite(object, .init = start, .fini = stop);
TestSuite(scan, .init = start, .fini = stop);
TestSuite(keyspace_cmd, .init = start, .fini = stop);
TestSuite(rows);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static struct shard_stats stats(void)
{
    struct shard_stats sum = {0};
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++) {
        sum.hits += world.shards[i].stats.hits;
        sum.misses += world.shards[i].stats.misses;
        sum.changes += world.shards[i].stats.changes;
    }
    return sum;
}

Test(generic, del_counts_keys_over_all_shards_once)
{
    run("MSET a 1 b 2 c 3 d 4 e 5");
    expect("EXISTS a b c d e a x", ":6\r\n");
    uint64_t before = stats().changes;
    expect("DEL a b x a", ":2\r\n");
    cr_expect_eq(stats().changes, before + 2);
    expect("UNLINK c d e e", ":3\r\n");
    expect("DBSIZE", ":0\r\n");
}

Test(generic, asking_about_a_key_counts_but_does_not_touch)
{
    run("SET a 1");
    world.now_ms += 50000;
    struct shard_stats before = stats();
    run("EXISTS a");
    run("TYPE a");
    run("TTL a");
    run("OBJECT ENCODING a");
    run("EXISTS x");
    expect("OBJECT IDLETIME a", ":50\r\n");
    cr_expect_eq(stats().hits, before.hits + 5);
    cr_expect_eq(stats().misses, before.misses + 1);
    expect("TOUCH a x a", ":2\r\n");
    expect("OBJECT IDLETIME a", ":0\r\n");
}

Test(generic, touch_touches_for_a_client_of_no_touch_too)
{
    run("SET a 1");
    world.now_ms += 50000;
    world.no_touch = true;
    run("GET a");
    expect("OBJECT IDLETIME a", ":50\r\n");
    run("TOUCH a");
    expect("OBJECT IDLETIME a", ":0\r\n");
}

Test(generic, rename_moves_value_and_expiry_between_shards)
{
    char from[20] = "a0", to[20], line[60];
    run("SET a0 value EX 100");
    for (int i = 1; i < 40; i++) {
        snprintf(to, sizeof(to), "a%d", i);
        snprintf(line, sizeof(line), "RENAME %s %s", from, to);
        expect(line, "+OK\r\n");
        snprintf(line, sizeof(line), "EXISTS %s", from);
        expect(line, ":0\r\n");
        strcpy(from, to);
    }
    expect("GET a39", "$5\r\nvalue\r\n");
    expect("TTL a39", ":100\r\n");
    expect("DBSIZE", ":1\r\n");
}

Test(generic, rename_counts_as_one_change)
{
    run("SET a 1");
    uint64_t before = stats().changes;
    run("RENAME a b");
    cr_expect_eq(stats().changes, before + 1);
}

Test(generic, rename_replaces_and_renamenx_does_not)
{
    expect("RENAME x y", "-ERR no such key\r\n");
    expect("RENAMENX x x", "-ERR no such key\r\n");
    run("MSET a 1 b 2");
    expect("RENAMENX a b", ":0\r\n");
    expect("RENAMENX a a", ":0\r\n");
    expect("RENAME a a", "+OK\r\n");
    expect("RENAME a b", "+OK\r\n");
    expect("GET b", "$1\r\n1\r\n");
    expect("RENAMENX b c", ":1\r\n");
    expect("EXISTS a b", ":0\r\n");
}

Test(generic, an_expired_destination_is_none)
{
    run("SET a 1");
    run("SET b 2 PX 10");
    run("SET c 3 PX 10");
    world.now_ms += 11;
    expect("COPY a b", ":1\r\n");
    expect("TTL b", ":-1\r\n");
    expect("RENAMENX a c", ":1\r\n");
    expect("GET c", "$1\r\n1\r\n");
    expect("TTL c", ":-1\r\n");
    expect("DBSIZE", ":2\r\n");
}

Test(generic, copy_makes_a_value_of_its_own)
{
    run("SET a text EX 100");
    expect("COPY a b", ":1\r\n");
    run("APPEND b more");
    expect("GET a", "$4\r\ntext\r\n");
    expect("GET b", "$8\r\ntextmore\r\n");
    expect("TTL b", ":100\r\n");
    expect("COPY a b", ":0\r\n");
    expect("COPY a b REPLACE", ":1\r\n");
    expect("GET b", "$4\r\ntext\r\n");
    expect("COPY a a DB 2", ":1\r\n");
    world.db = 2;
    expect("GET a", "$4\r\ntext\r\n");
}

Test(generic, copy_and_move_check_the_database_first)
{
    const char *range = "-ERR DB index is out of range\r\n";
    const char *same = "-ERR source and destination objects are the same\r\n";
    run("SET a 1");
    expect("COPY a b DB 16", range);
    expect("COPY a b DB -1", range);
    expect("COPY a a", same);
    expect("COPY a a DB 0 REPLACE", same);
    expect("COPY a b DB", "-ERR syntax error\r\n");
    expect("MOVE a 16", range);
    expect("MOVE a 0", same);
    expect("MOVE a 3000000000",
           "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n");
    expect("MOVE a x", "-ERR value is not an integer or out of range\r\n");
    expect("MOVE a 15", ":1\r\n");
    expect("MOVE a 15", ":0\r\n");
    run("SET a 2");
    expect("MOVE a 15", ":0\r\n");
    expect("GET a", "$1\r\n2\r\n");
}

Test(expire, a_time_that_has_passed_removes_the_key)
{
    static const char *const lines[] = {
        "EXPIRE k 0", "EXPIRE k -5", "PEXPIRE k -1", "EXPIREAT k 1700000000", "PEXPIREAT k -7",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        run("SET k v");
        uint64_t before = stats().changes;
        expect(lines[i], ":1\r\n");
        cr_expect_eq(stats().changes, before + 1);
        expect("EXISTS k", ":0\r\n");
    }
}

Test(expire, conditions_compare_with_the_present_expiry)
{
    run("SET k v");
    expect("EXPIRE k 100 XX", ":0\r\n");
    expect("EXPIRE k 100 GT", ":0\r\n");
    expect("EXPIRE k 100 LT", ":1\r\n");
    expect("EXPIRE k 200 NX", ":0\r\n");
    expect("EXPIRE k 100 GT", ":0\r\n");
    expect("EXPIRE k 100 LT", ":0\r\n");
    expect("EXPIRE k 101 GT XX", ":1\r\n");
    expect("EXPIRE k -1 GT", ":0\r\n");
    expect("TTL k", ":101\r\n");
    expect("EXPIRE k -1 LT", ":1\r\n");
    expect("EXISTS k", ":0\r\n");
    expect("EXPIRE k 100 NX", ":0\r\n");
}

Test(expire, times_out_of_range_change_nothing)
{
    run("SET k v EX 10");
    uint64_t before = stats().changes;
    expect("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n");
    expect("EXPIRE k -9223372036854776", "-ERR invalid expire time in 'expire' command\r\n");
    expect("PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n");
    expect("EXPIREAT k 9223372036854776", "-ERR invalid expire time in 'expireat' command\r\n");
    expect("EXPIRE k 1 2", "-ERR Unsupported option 2\r\n");
    expect("EXPIRE k 1 NX GT",
           "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n");
    expect("EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible\r\n");
    expect("TTL k", ":10\r\n");
    cr_expect_eq(stats().changes, before);
    expect("PEXPIREAT k 9223372036854775807", ":1\r\n");
    expect("PEXPIRETIME k", ":9223372036854775807\r\n");
}

Test(expire, what_is_left_is_rounded_to_the_nearest_second)
{
    run("SET k v");
    expect("TTL k", ":-1\r\n");
    expect("TTL x", ":-2\r\n");
    run("PEXPIRE k 1499");
    expect("TTL k", ":1\r\n");
    run("PEXPIRE k 1500");
    expect("TTL k", ":2\r\n");
    expect("PTTL k", ":1500\r\n");
    expect("PEXPIRETIME k", ":1700000001500\r\n");
    expect("EXPIRETIME k", ":1700000002\r\n");
    world.now_ms += 1500;
    expect("TTL k", ":0\r\n");
    world.now_ms += 1;
    expect("TTL k", ":-2\r\n");
}

Test(expire, persist_takes_the_expiry_off_once)
{
    run("SET k v EX 10");
    expect("PERSIST k", ":1\r\n");
    expect("PERSIST k", ":0\r\n");
    expect("PERSIST x", ":0\r\n");
    expect("TTL k", ":-1\r\n");
}

Test(object, idletime_and_freq_need_their_policy)
{
    run("SET k v");
    expect("OBJECT FREQ x", "$-1\r\n");
    cr_expect(strstr(run("OBJECT FREQ k"), "-ERR An LFU maxmemory policy is not selected"));
    world.keyspace.options.lfu = true;
    run("SET lfu v");
    expect("OBJECT FREQ lfu", ":5\r\n");
    cr_expect(strstr(run("OBJECT IDLETIME k"), "-ERR An LFU maxmemory policy is selected"));
    world.protocol = 3;
    expect("OBJECT IDLETIME x", "_\r\n");
}

Test(object, encodings_and_help)
{
    run("MSET i 12 e text");
    run("APPEND r raw");
    expect("OBJECT ENCODING i", "$3\r\nint\r\n");
    expect("object encoding e", "$6\r\nembstr\r\n");
    expect("OBJECT ENCODING x", "$-1\r\n");
    expect("OBJECT REFCOUNT i", ":2147483647\r\n");
    expect("OBJECT HELP x", "-ERR wrong number of arguments for 'object|help' command\r\n");
    cr_expect_eq(strncmp(run("OBJECT HELP"), "*13\r\n+OBJECT <subcommand> ", 25), 0);
}

/* --- SCAN --- */

#define KEYS_MAX 4000

/* One pass, or one step of it: notes in `seen` the keys "k<number>" that come. */
struct scanner {
    uint64_t cursor;
    uint32_t rounds;
    unsigned char seen[KEYS_MAX];
};

static void note_keys(struct scanner *s, const char *reply, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        reply = strchr(reply, '\n') + 1;
        int64_t number = strtoll(reply + 1, NULL, 10);
        cr_assert(reply[0] == 'k' && number >= 0 && number < KEYS_MAX);
        s->seen[number] = 1;
        reply = strchr(reply, '\n') + 1;
    }
}

/* One SCAN call; true while there is more. */
static bool scan_step(struct scanner *s, const char *options)
{
    char line[100];
    snprintf(line, sizeof(line), "SCAN %lu%s", (unsigned long)s->cursor, options);
    const char *reply = run(line);
    cr_assert_eq(strncmp(reply, "*2\r\n$", 5), 0, "%s: %s", line, reply);
    reply = strchr(reply + 4, '\n') + 1;
    s->cursor = strtoull(reply, NULL, 10);
    reply = strchr(reply, '\n') + 1;
    cr_assert(*reply == '*');
    note_keys(s, strchr(reply, '\n') + 1, strtoll(reply + 1, NULL, 10));
    s->rounds++;
    return s->cursor != 0;
}

static void set_key(int number)
{
    char line[40];
    snprintf(line, sizeof(line), "SET k%d v", number);
    run(line);
}

static void del_key(int number)
{
    char line[40];
    snprintf(line, sizeof(line), "DEL k%d", number);
    run(line);
}

Test(scan, returns_every_key_that_stays_while_the_shards_grow_and_shrink)
{
    srand(6);
    for (int round = 0; round < 30; round++) {
        run("FLUSHALL");
        /* Keys below `stay` stay; those above come and go, first mostly coming or mostly going. */
        int stay = rand() % 600, lean = rand() % 3, reach = 1 + rand() % (KEYS_MAX - stay);
        for (int i = 0; i < stay; i++)
            set_key(i);
        for (int i = 0; lean == 0 && i < reach; i++)
            set_key(stay + i);
        static const char *const options[] = {"", " COUNT 1", " COUNT 3", " COUNT 100"};
        struct scanner s = {0};
        while (scan_step(&s, options[round % 4])) {
            cr_assert(s.rounds < 20000, "the scan does not end");
            for (int i = rand() % 40; i > 0; i--) {
                int number = stay + rand() % reach;
                if (rand() % 4 ? lean == 0 : lean != 0)
                    del_key(number);
                else
                    set_key(number);
            }
        }
        for (int i = 0; i < stay; i++)
            cr_assert(s.seen[i], "round %d: key %d of %d was not seen", round, i, stay);
    }
}

Test(scan, goes_on_over_the_shards_until_count_keys_were_seen)
{
    const char *nothing = "*2\r\n$1\r\n0\r\n*0\r\n";
    expect("SCAN 0", nothing);
    expect("SCAN 3", nothing);
    expect("SCAN 0 COUNT 1", nothing);
    for (int i = 0; i < 30; i++)
        set_key(i);
    struct scanner s = {0};
    cr_expect(!scan_step(&s, " COUNT 31"));
    s = (struct scanner){0};
    cr_expect(scan_step(&s, " COUNT 15"));
    cr_expect(!scan_step(&s, " COUNT 15"));
    /* What does not match counts as well. */
    s = (struct scanner){0};
    cr_expect(scan_step(&s, " COUNT 15 MATCH nothing"));
}

/* Runs SCAN with one shard at hand; true where it asks for all. */
static bool strays(const char *cursor, uint32_t shard, struct buf *out)
{
    const struct command *row = world_row(SLICE("scan"));
    struct slice argv[] = {SLICE("SCAN"), slice_of(cursor)};
    struct call c = world_call(&world, row, argv, 2, out);
    c.shard = world.pointers[shard];
    c.shards = NULL;
    row->run(&c);
    return c.strayed;
}

Test(scan, strays_without_a_reply_where_its_shard_is_not_enough)
{
    struct buf out;
    buf_init(&out);
    cr_expect(strays("0", 0, &out));
    cr_expect(strays("2", 2, &out));
    cr_expect_eq(out.size, 0);
    cr_expect(!strays("3", 3, &out));
    out.size = 0;
    for (int i = 0; i < 1000; i++)
        set_key(i);
    cr_expect(!strays("0", 0, &out));
    cr_expect(out.size > 0);
    buf_deinit(&out);
}

Test(scan, cursors_stay_small_enough_for_a_double)
{
    for (int i = 0; i < KEYS_MAX; i++)
        set_key(i);
    struct scanner s = {0};
    while (scan_step(&s, ""))
        cr_assert_lt(s.cursor, UINT64_C(1) << 30);
    for (int i = 0; i < KEYS_MAX; i++)
        cr_assert(s.seen[i]);
}

Test(scan, about_count_keys_a_call)
{
    for (int i = 0; i < 1000; i++)
        set_key(i);
    struct scanner s = {0};
    while (scan_step(&s, ""))
        continue;
    cr_expect(s.rounds > 30 && s.rounds <= 110, "%u calls", s.rounds);
    s = (struct scanner){0};
    while (scan_step(&s, " COUNT 9223372036854775807"))
        continue;
    cr_expect_eq(s.rounds, 1);
}

Test(scan, a_foreign_cursor_ends_the_scan)
{
    run("MSET a 1 b 2 c 3");
    static const char *const lines[] = {
        "SCAN 4", "SCAN 255", "SCAN 18446744073709551615", "SCAN -1", "SCAN 72057594037927936",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        expect(lines[i], "*2\r\n$1\r\n0\r\n*0\r\n");
    /* A position that no table has: past the last bucket or in the middle of one. */
    cr_expect_eq(run("SCAN 72057594037927680")[0], '*');
}

Test(scan, the_router_is_given_a_shard_that_exists)
{
    static const struct {
        const char *cursor;
        uint32_t shard;
    } cases[] = {
        {"0", 0}, {"1", 1}, {"3", 3}, {"4", 0}, {"255", 0}, {"258", 2}, {"x", 0}, {"", 0},
        {"18446744073709551615", 0}, {"18446744073709551616", 0}, {"-1", 0}, {"+2", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice argv[] = {SLICE("SCAN"), slice_of(cases[i].cursor)};
        struct call c = {.keyspace = &world.keyspace, .argv = argv, .argc = 2};
        cr_expect_eq(scan_cursor_shard(&c), cases[i].shard, "%s", cases[i].cursor);
    }
}

Test(scan, malformed_cursors_and_options_are_told)
{
    static const char *const cursors[] = {"x", "1x", "-", "18446744073709551616", "0x1", "1.0"};
    for (size_t i = 0; i < sizeof(cursors) / sizeof(cursors[0]); i++) {
        char line[60];
        snprintf(line, sizeof(line), "SCAN %s COUNT 0", cursors[i]);
        expect(line, "-ERR invalid cursor\r\n");
    }
    expect("SCAN 0 COUNT 0", "-ERR syntax error\r\n");
    expect("SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n");
    expect("SCAN 0 COUNT", "-ERR syntax error\r\n");
    expect("SCAN 0 FOO 1", "-ERR syntax error\r\n");
}

static int seen_count(const char *options)
{
    struct scanner s = {0};
    while (scan_step(&s, options))
        continue;
    int count = 0;
    for (int i = 0; i < KEYS_MAX; i++)
        count += s.seen[i];
    return count;
}

Test(scan, match_and_type_filter)
{
    for (int i = 0; i < 200; i++)
        set_key(i);
    cr_expect_eq(seen_count(" MATCH k1?"), 10);
    cr_expect_eq(seen_count(" TYPE STRING MATCH *"), 200);
    cr_expect_eq(seen_count(" TYPE hash"), 0);
    cr_expect_eq(seen_count(" TYPE nonsense"), 0);
    cr_expect_eq(seen_count(" MATCH nothing"), 0);
}

Test(scan, leaves_out_expired_keys)
{
    run("SET k1 v PX 5");
    run("SET k2 v");
    world.now_ms += 6;
    cr_expect_eq(seen_count(""), 1);
    expect("KEYS *", "*1\r\n$2\r\nk2\r\n");
    for (int i = 0; i < 20; i++)
        expect("RANDOMKEY", "$2\r\nk2\r\n");
}

Test(scan, works_in_a_cross_transaction)
{
    set_key(1);
    const struct command *row = world_row(SLICE("scan"));
    struct slice argv[] = {SLICE("SCAN"), SLICE("3")};
    struct buf out;
    buf_init(&out);
    struct call c = world_call(&world, row, argv, 2, &out);
    c.shards = world.pointers;
    row->run(&c);
    cr_expect_eq(strncmp(out.data, "*2\r\n$1\r\n0\r\n", 11), 0);
    buf_deinit(&out);
}

Test(scan, keys_finds_all_that_match)
{
    run("MSET one 1 two 2 three 3 four 4");
    expect("KEYS x*", "*0\r\n");
    cr_expect_eq(strncmp(run("KEYS *o*"), "*3\r\n", 4), 0);
    cr_expect_eq(strncmp(run("KEYS *"), "*4\r\n", 4), 0);
}

Test(scan, randomkey_finds_the_one_key_on_any_shard)
{
    for (int i = 0; i < 30; i++) {
        char expected[40];
        run("FLUSHALL");
        set_key(10 + i);
        snprintf(expected, sizeof(expected), "$3\r\nk%d\r\n", 10 + i);
        expect("RANDOMKEY", expected);
    }
}

Test(scan, randomkey_chooses_evenly_over_unequal_shards)
{
    expect("RANDOMKEY", "$-1\r\n");
    /* Keys of one tag share a shard: 90 there, 10 elsewhere. */
    enum { KEYS = 100, DRAWS = 20000 };
    for (int i = 0; i < KEYS; i++) {
        char line[40];
        snprintf(line, sizeof(line), i < 90 ? "SET {a}%d v" : "SET {%d}x v", i);
        run(line);
    }
    int tagged = 0;
    for (int i = 0; i < DRAWS; i++)
        tagged += strstr(run("RANDOMKEY"), "{a}") != NULL;
    cr_expect(tagged > DRAWS * 0.88 && tagged < DRAWS * 0.92, "%d of %d", tagged, DRAWS);
}

Test(keyspace_cmd, flushdb_takes_one_database_and_flushall_every_one)
{
    run("MSET a 1 b 2 c 3 d 4");
    world.db = 1;
    run("MSET a 1 b 2 c 3");
    expect("DBSIZE", ":3\r\n");
    expect("FLUSHDB ASYNC", "+OK\r\n");
    expect("DBSIZE", ":0\r\n");
    run("SET a 1");
    world.db = 0;
    expect("DBSIZE", ":4\r\n");
    expect("FLUSHALL NOW", "-ERR syntax error\r\n");
    expect("FLUSHALL SYNC ASYNC", "-ERR syntax error\r\n");
    expect("DBSIZE", ":4\r\n");
    expect("FLUSHALL SYNC", "+OK\r\n");
    expect("DBSIZE", ":0\r\n");
    world.db = 1;
    expect("DBSIZE", ":0\r\n");
}

Test(keyspace_cmd, swapdb_exchanges_databases_on_every_shard)
{
    run("MSET a 1 b 2 c 3 d 4 e 5");
    expect("SWAPDB 0 7", "+OK\r\n");
    expect("DBSIZE", ":0\r\n");
    world.db = 7;
    expect("EXISTS a b c d e", ":5\r\n");
    expect("SWAPDB 7 7", "+OK\r\n");
    expect("SWAPDB x 99", "-ERR invalid first DB index\r\n");
    expect("SWAPDB 0 99999999999", "-ERR invalid second DB index\r\n");
    expect("SWAPDB 0 16", "-ERR DB index is out of range\r\n");
    expect("SWAPDB -1 0", "-ERR DB index is out of range\r\n");
    expect("DBSIZE", ":5\r\n");
}

static void check_row(const struct command *row, bool subcommand)
{
    cr_expect(row->run || row->subcommands, "%s", row->name);
    cr_expect(row->arity && row->group && row->since && row->complexity && row->summary, "%s",
              row->name);
    bool split = row->route == ROUTE_SPLIT || row->route == ROUTE_ALL;
    cr_expect_eq(split, row->split != SPLIT_NONE, "%s", row->name);
    cr_expect_eq(row->split == SPLIT_MERGE, row->merge != NULL, "%s", row->name);
    cr_expect(row->subcommands || !((row->flags & CMD_WRITE) && (row->flags & CMD_READONLY)));
    for (const struct command *sub = row->subcommands; sub && sub->name; sub++) {
        cr_expect(!subcommand);
        check_row(sub, true);
    }
}

Test(rows, are_complete)
{
    const struct command *const tables[] = {
        bitmap_commands, bitfield_commands, bitop_commands,  generic_commands,
        expire_commands, scan_commands,     object_commands, keyspace_commands,
    };
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        for (const struct command *row = tables[i]; row->name; row++)
            check_row(row, false);
}
