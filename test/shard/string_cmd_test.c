/* The string commands, run on shards without a server: a line of words goes in, the reply's bytes
 * come out. What a comparison with redis-server shows as well is in test/compare/cases/string.txt;
 * here are the clock, the counts, several shards, limits, wrong types and the searches with a
 * model. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/call.h"
#include "shard/db.h"

#define WORDS_MAX 32
#define SHARDS_MAX 4
#define NOW_MS ((int64_t)1700000000123)

static const struct command *const tables[] = {
    string_commands, string_range_commands, string_multi_commands, lcs_commands, counter_commands,
    increx_commands,
};
#define TABLE_COUNT (sizeof(tables) / sizeof(tables[0]))

struct world {
    struct keyspace keyspace;
    struct shard shards[SHARDS_MAX];
    struct shard *all[SHARDS_MAX];
    struct buf out;
    int64_t now_ms;
    unsigned protocol;
};

static struct world *world_create(uint32_t shard_count)
{
    static const unsigned char secret[HASH_SECRET_SIZE] = {1, 2, 3, 4, 5};
    struct world *w = calloc(1, sizeof(*w));
    keyspace_init(&w->keyspace, shard_count, 1, secret);
    w->keyspace.options.bulk_size_max = 512 * 1024 * 1024;
    for (uint32_t i = 0; i < shard_count; i++) {
        shard_init(&w->shards[i], i, &w->keyspace, i + 1);
        w->all[i] = &w->shards[i];
    }
    buf_init(&w->out);
    w->now_ms = NOW_MS;
    w->protocol = 2;
    return w;
}

static void world_destroy(struct world *w)
{
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++)
        shard_deinit(&w->shards[i]);
    buf_deinit(&w->out);
    free(w);
}

static const struct command *find_row_in(const struct command *rows, struct slice name)
{
    while (rows->name && !slice_is(name, rows->name))
        rows++;
    return rows->name ? rows : NULL;
}

/* Strings, and lists to be refused. */
static const struct command *find_row(struct slice name)
{
    const struct command *row = find_row_in(list_commands, name);
    for (size_t t = 0; t < TABLE_COUNT && !row; t++)
        row = find_row_in(tables[t], name);
    if (row)
        return row;
    cr_assert_fail("no such command: %.*s", (int)name.size, name.data);
    return NULL;
}

/* A line's words; '' is the empty one. */
static uint32_t split_words(const char *line, struct slice *words)
{
    uint32_t count = 0;
    for (line += strspn(line, " "); *line; line += strspn(line, " ")) {
        cr_assert_lt(count, WORDS_MAX);
        size_t size = strcspn(line, " ");
        bool empty = size == 2 && memcmp(line, "''", 2) == 0;
        words[count++] = (struct slice){line, empty ? 0 : size};
        line += size;
    }
    return count;
}

/* Readies a call as the server would: on the one shard, or, of several, as a cross transaction. */
static void prepare(struct world *w, struct call *c, struct slice *words, const char *line)
{
    uint32_t argc = split_words(line, words);
    bool one = w->keyspace.shard_count == 1;
    *c = (struct call){
        .shard = one ? w->all[0] : NULL,
        .shards = one ? NULL : w->all,
        .keyspace = &w->keyspace,
        .command = find_row(words[0]),
        .argv = words,
        .argc = argc,
        .now_ms = w->now_ms,
        .reply = {.out = &w->out, .protocol = w->protocol},
    };
    int16_t arity = c->command->arity;
    cr_assert(arity > 0 ? (int)argc == arity : (int)argc >= -arity, "arity: %s", line);
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++)
        w->shards[i].now_ms = w->now_ms;
    w->out.size = 0;
}

static const char *run(struct world *w, const char *line)
{
    struct call c;
    struct slice words[WORDS_MAX];
    prepare(w, &c, words, line);
    c.command->run(&c);
    buf_append(&w->out, "", 1);
    w->out.size--;
    return w->out.data;
}

/* Runs the call's part on one shard, which has the keys (by their order) named in `key_shards`. */
static void run_part(struct world *w, struct call *c, uint32_t shard, const uint16_t *key_shards)
{
    c->shard = w->all[shard];
    c->shards = NULL;
    c->key_shards = key_shards;
    c->command->run(c);
}

static struct place place_of(struct world *w, const char *key)
{
    struct call c = {
        .shard = w->keyspace.shard_count == 1 ? w->all[0] : NULL,
        .shards = w->all,
        .keyspace = &w->keyspace,
        .now_ms = w->now_ms,
    };
    return db_find_key(&c, slice_of(key), 0, DB_PEEK);
}

static int64_t expiry_of(struct world *w, const char *key)
{
    struct place p = place_of(w, key);
    cr_assert(p.entry);
    return db_expiry(&p);
}

#define expect(w, line, reply) cr_expect_str_eq(run(w, line), reply, "%s", line)

Test(rows, are_complete)
{
    for (size_t t = 0; t < TABLE_COUNT; t++) {
        for (const struct command *row = tables[t]; row->name; row++) {
            cr_expect(row->run && row->arity && row->acl == ACL_STRING, "%s", row->name);
            cr_expect(row->since && row->complexity && row->syntax && row->summary);
            cr_expect_str_eq(row->group, "string");
            cr_expect(row->keys[0].find != KEY_FIND_NONE && row->keys[0].step > 0);
            bool write = row->flags & CMD_WRITE, read = row->flags & CMD_READONLY;
            cr_expect(write != read, "%s", row->name);
            cr_expect_eq(read, !!(row->keys[0].flags & KEY_RO), "%s", row->name);
            cr_expect_eq(row->route == ROUTE_SPLIT, row->split != SPLIT_NONE);
            cr_expect_eq(row->replaced_by != NULL, row->deprecated_since != NULL);
        }
    }
}

Test(get, finds_what_was_set)
{
    struct world *w = world_create(1);
    expect(w, "GET k", "$-1\r\n");
    expect(w, "SET k v", "+OK\r\n");
    expect(w, "GET k", "$1\r\nv\r\n");
    expect(w, "SET k -77", "+OK\r\n");
    expect(w, "GET k", "$3\r\n-77\r\n");
    w->protocol = 3;
    expect(w, "GET none", "_\r\n");
    world_destroy(w);
}

Test(get, counts_hits_and_misses_but_set_counts_changes)
{
    struct world *w = world_create(1);
    struct shard_stats *stats = &w->shards[0].stats;
    run(w, "SET k v");
    cr_expect_eq(stats->changes, 1);
    cr_expect_eq(stats->hits + stats->misses, 0);
    run(w, "GET k");
    run(w, "GET none");
    cr_expect_eq(stats->changes, 1);
    cr_expect_eq(stats->hits, 1);
    cr_expect_eq(stats->misses, 1);
    world_destroy(w);
}

Test(set, obeys_its_conditions)
{
    struct world *w = world_create(1);
    expect(w, "SET k a XX", "$-1\r\n");
    expect(w, "SET k a NX", "+OK\r\n");
    expect(w, "SET k b NX", "$-1\r\n");
    expect(w, "SET k b XX", "+OK\r\n");
    expect(w, "SET k c NX GET", "$1\r\nb\r\n");
    expect(w, "SET k c GET", "$1\r\nb\r\n");
    expect(w, "SET none c GET", "$-1\r\n");
    expect(w, "SET k d IFEQ b", "$-1\r\n");
    expect(w, "SET k d IFEQ c", "+OK\r\n");
    expect(w, "SET k e IFNE d", "$-1\r\n");
    expect(w, "SET k e IFNE c GET", "$1\r\nd\r\n");
    expect(w, "SET absent e IFEQ e", "$-1\r\n");
    expect(w, "SET absent e IFNE e", "+OK\r\n");
    expect(w, "GET k", "$1\r\ne\r\n");
    cr_expect_eq(w->shards[0].stats.changes, 7);
    world_destroy(w);
}

Test(set, compares_digests_in_either_case)
{
    struct world *w = world_create(1);
    run(w, "SET k hello");
    expect(w, "DIGEST k", "$16\r\n9555e8555c62dcfd\r\n");
    expect(w, "SET k world IFDNE 9555E8555C62DCFD", "$-1\r\n");
    expect(w, "SET k world IFDEQ 9555E8555C62DCFD", "+OK\r\n");
    expect(w, "SET k x IFDEQ abc", "-ERR must be exactly 16 hexadecimal characters\r\n");
    run(w, "SET k 12345");
    expect(w, "DIGEST k", "$16\r\nf34099ede96b5581\r\n");
    world_destroy(w);
}

Test(set, refuses_options_that_contradict_each_other)
{
    static const char *const lines[] = {
        "SET k v NX XX",        "SET k v XX IFEQ a",    "SET k v IFEQ a IFNE a",
        "SET k v EX 1 PX 1",    "SET k v KEEPTTL EX 1", "SET k v EXAT 1 PXAT 1",
        "SET k v EX",           "SET k v IFDEQ",        "SET k v PERSIST",
        "SET k v what",         "SET k v ''",           "GETEX k KEEPTTL",
        "GETEX k NX",           "GETEX k EX 1 PERSIST", "GETEX k GET",
        "MSETEX 1 k v IFEQ a",  "MSETEX 1 k v GET",     "MSETEX 1 k v PERSIST",
        "MSETEX 1 k v EX 1 PX 1",
    };
    struct world *w = world_create(1);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        expect(w, lines[i], "-ERR syntax error\r\n");
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    world_destroy(w);
}

Test(set, takes_the_last_of_an_option_that_is_repeated)
{
    struct world *w = world_create(1);
    expect(w, "SET k v NX NX EX 5 EX 6", "+OK\r\n");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 6000);
    world_destroy(w);
}

Test(set, gives_the_expiry_that_was_asked_for)
{
    struct world *w = world_create(1);
    run(w, "SET k v EX 5");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 5000);
    run(w, "SET k v PX 5");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 5);
    run(w, "SET k w KEEPTTL");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 5);
    run(w, "SET k v EXAT 1800000000");
    cr_expect_eq(expiry_of(w, "k"), 1800000000000);
    run(w, "SET k v PXAT 1800000000001");
    cr_expect_eq(expiry_of(w, "k"), 1800000000001);
    run(w, "SET k 7 KEEPTTL");
    run(w, "INCR k");
    run(w, "INCRBYFLOAT k 1.5");
    run(w, "APPEND k 1");
    run(w, "SETRANGE k 0 2");
    cr_expect_eq(expiry_of(w, "k"), 1800000000001);
    run(w, "SET k v");
    cr_expect_eq(expiry_of(w, "k"), DB_NO_EXPIRY);
    run(w, "SETEX k 7 v");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 7000);
    run(w, "PSETEX k 7 v");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 7);
    run(w, "GETSET k w");
    cr_expect_eq(expiry_of(w, "k"), DB_NO_EXPIRY);
    world_destroy(w);
}

Test(set, refuses_times_that_are_not_positive_or_do_not_fit)
{
    struct world *w = world_create(1);
    static const char *const bad = "-ERR invalid expire time in 'set' command\r\n";
    expect(w, "SET k v EX 0", bad);
    expect(w, "SET k v PXAT -1", bad);
    expect(w, "SET k v EX 9223372036854775", bad);
    expect(w, "SET k v EXAT 9223372036854776", bad);
    expect(w, "SET k v PX 9223372036854775807", bad);
    expect(w, "SET k v EX x", "-ERR value is not an integer or out of range\r\n");
    expect(w, "SETEX k 0 v", "-ERR invalid expire time in 'setex' command\r\n");
    expect(w, "MSETEX 1 k v PX 0", "-ERR invalid expire time in 'msetex' command\r\n");
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    expect(w, "SET k v PXAT 9223372036854775807", "+OK\r\n");
    cr_expect_eq(expiry_of(w, "k"), INT64_MAX);
    world_destroy(w);
}

Test(set, of_a_time_in_the_past_leaves_no_key)
{
    struct world *w = world_create(1);
    expect(w, "SET k v", "+OK\r\n");
    expect(w, "SET k v PXAT 1", "+OK\r\n");
    expect(w, "GET k", "$-1\r\n");
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    cr_expect_eq(w->shards[0].stats.expired, 1);
    world_destroy(w);
}

Test(getex, changes_only_the_expiry)
{
    struct world *w = world_create(1);
    struct shard_stats *stats = &w->shards[0].stats;
    expect(w, "GETEX k EX x", "$-1\r\n");
    run(w, "SET k v");
    expect(w, "GETEX k", "$1\r\nv\r\n");
    expect(w, "GETEX k PERSIST", "$1\r\nv\r\n");
    cr_expect_eq(stats->changes, 1);
    expect(w, "GETEX k EX 5", "$1\r\nv\r\n");
    cr_expect_eq(expiry_of(w, "k"), NOW_MS + 5000);
    expect(w, "GETEX k EX 0", "-ERR invalid expire time in 'getex' command\r\n");
    expect(w, "GETEX k PERSIST", "$1\r\nv\r\n");
    cr_expect_eq(expiry_of(w, "k"), DB_NO_EXPIRY);
    cr_expect_eq(stats->changes, 3);
    expect(w, "GETEX k PXAT 1", "$1\r\nv\r\n");
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    cr_expect_eq(stats->changes, 4);
    world_destroy(w);
}

Test(delex, deletes_when_its_condition_holds)
{
    struct world *w = world_create(1);
    expect(w, "DELEX k IFNE v", ":0\r\n");
    run(w, "SET k v");
    expect(w, "DELEX k IFEQ w", ":0\r\n");
    expect(w, "DELEX k NX w", "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE\r\n");
    expect(w, "DELEX k IFEQ", "-ERR wrong number of arguments for 'delex' command\r\n");
    expect(w, "DELEX k IFEQ v", ":1\r\n");
    expect(w, "DELEX k", ":0\r\n");
    expect(w, "GETDEL k", "$-1\r\n");
    cr_expect_eq(w->shards[0].stats.changes, 2);
    world_destroy(w);
}

Test(types, other_than_strings_are_refused)
{
    static const char *const lines[] = {
        "GET k",          "SET k v GET",    "SET k v IFEQ v",  "SET k v IFDNE short",
        "GETSET k v",     "GETDEL k",       "GETEX k EX 0",    "DIGEST k",
        "APPEND k v",     "SETRANGE k 0 v", "GETRANGE k 0 1",  "SUBSTR k 0 1",
        "STRLEN k",       "INCR k",         "DECRBY k 1",      "INCRBYFLOAT k x",
        "SETRANGE k 0 ''",
    };
    static const char *const wrong_type =
        "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    struct world *w = world_create(1);
    run(w, "RPUSH k v");
    struct entry *e = place_of(w, "k").entry;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        expect(w, lines[i], wrong_type);
    expect(w, "MGET k", "$-1\r\n");
    expect(w, "SET k v NX", "$-1\r\n");
    expect(w, "SETNX k v", ":0\r\n");
    expect(w, "DELEX k IFEQ v",
           "-ERR Key should be of string type if conditions are specified\r\n");
    expect(w, "LCS k none", "-ERR The specified keys must contain string values\r\n");
    cr_expect_eq(place_of(w, "k").entry, e);
    cr_expect_eq(w->shards[0].stats.changes, 1);
    world_destroy(w);
}

Test(ranges, keep_to_the_largest_string)
{
    static const char *const big =
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    struct world *w = world_create(1);
    w->keyspace.options.bulk_size_max = 8;
    expect(w, "APPEND k 12345678", ":8\r\n");
    expect(w, "APPEND k 9", big);
    expect(w, "SETRANGE k 7 x", ":8\r\n");
    expect(w, "SETRANGE k 8 x", big);
    expect(w, "SETRANGE k 9223372036854775807 x", big);
    expect(w, "SETRANGE none 8 x", big);
    expect(w, "SETRANGE none 8 ''", ":0\r\n");
    expect(w, "GET k", "$8\r\n1234567x\r\n");
    cr_expect_eq(db_key_count(&w->shards[0], 0), 1);
    world_destroy(w);
}

Test(ranges, write_zeros_where_nothing_was)
{
    struct world *w = world_create(1);
    expect(w, "SETRANGE k 3 abc", ":6\r\n");
    run(w, "GET k");
    cr_expect_arr_eq(w->out.data, "$6\r\n\0\0\0abc\r\n", 12);
    expect(w, "APPEND k ''", ":6\r\n");
    expect(w, "STRLEN k", ":6\r\n");
    world_destroy(w);
}

/* GETRANGE by going through all positions. */
static void model_range(const char *s, int64_t first, int64_t last, char *to)
{
    int64_t size = (int64_t)strlen(s);
    int64_t from = first < 0 ? size + first : first, end = last < 0 ? size + last : last;
    from = from < 0 ? 0 : from;
    end = end < 0 ? 0 : end;
    bool backwards = first < 0 && last < 0 && first > last;
    for (int64_t i = 0; i < size && !backwards; i++)
        if (i >= from && i <= end)
            *to++ = s[i];
    *to = '\0';
}

Test(ranges, agree_with_a_model)
{
    struct world *w = world_create(1);
    for (int size = 0; size <= 4; size++) {
        char value[8] = "", line[64], part[8], reply[32];
        memcpy(value, "abcd", (size_t)size);
        snprintf(line, sizeof(line), "SET k %s", size ? value : "''");
        run(w, line);
        for (int first = -6; first <= 6; first++) {
            for (int last = -6; last <= 6; last++) {
                model_range(value, first, last, part);
                snprintf(line, sizeof(line), "GETRANGE k %d %d", first, last);
                snprintf(reply, sizeof(reply), "$%zu\r\n%s\r\n", strlen(part), part);
                expect(w, line, reply);
            }
        }
    }
    world_destroy(w);
}

Test(counters, do_not_wrap)
{
    static const char *const wraps = "-ERR increment or decrement would overflow\r\n";
    struct world *w = world_create(1);
    expect(w, "INCRBY k 9223372036854775807", ":9223372036854775807\r\n");
    expect(w, "INCR k", wraps);
    expect(w, "DECRBY k -1", wraps);
    expect(w, "DECRBY k -9223372036854775808", "-ERR decrement would overflow\r\n");
    run(w, "SET k -9223372036854775808");
    expect(w, "DECR k", wraps);
    expect(w, "INCRBY k 9223372036854775807", ":-1\r\n");
    cr_expect_eq(w->shards[0].stats.changes, 3);
    world_destroy(w);
}

Test(counters, read_integers_however_they_are_held)
{
    struct world *w = world_create(1);
    run(w, "SET k 1");
    run(w, "APPEND k 9");
    expect(w, "INCR k", ":20\r\n");
    run(w, "SET k 019");
    expect(w, "INCR k", "-ERR value is not an integer or out of range\r\n");
    expect(w, "INCRBYFLOAT k 0.5", "$4\r\n19.5\r\n");
    expect(w, "INCRBYFLOAT k x", "-ERR value is not a valid float\r\n");
    expect(w, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity\r\n");
    world_destroy(w);
}

Test(mget, replies_for_its_own_keys_and_notes_their_sizes)
{
    struct world *w = world_create(2);
    struct slice words[WORDS_MAX];
    struct call c;
    uint32_t sizes[3] = {0};
    run(w, "MSETNX k1 one k2 two k3 three");
    prepare(w, &c, words, "MGET k1 k2 k3");
    uint16_t of[3];
    for (int i = 0; i < 3; i++)
        of[i] = (uint16_t)keyspace_shard(&w->keyspace, words[i + 1]);
    cr_assert(of[0] != of[1] || of[1] != of[2]);

    c.item_sizes = sizes;
    for (uint32_t shard = 0; shard < 2; shard++)
        run_part(w, &c, shard, of);
    cr_expect_eq(sizes[0], strlen("$3\r\none\r\n"));
    cr_expect_eq(sizes[1], strlen("$3\r\ntwo\r\n"));
    cr_expect_eq(sizes[2], strlen("$5\r\nthree\r\n"));
    cr_expect_eq(w->out.size, sizes[0] + sizes[1] + sizes[2]);
    world_destroy(w);
}

Test(mset, writes_its_own_keys_only)
{
    struct world *w = world_create(2);
    struct slice words[WORDS_MAX];
    struct call c;
    prepare(w, &c, words, "MSET a 1 b 2 a 3");
    static const uint16_t of[] = {1, 0, 1};
    run_part(w, &c, 1, of);
    cr_expect_eq(w->out.size, 0);
    cr_expect_eq(w->shards[1].stats.changes, 2);
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    cr_expect_eq(db_key_count(&w->shards[1], 0), 1);

    prepare(w, &c, words, "MSET a 1 b");
    run_part(w, &c, 0, of);
    cr_expect_eq(c.reply.errors, 1);
    cr_expect_eq(db_key_count(&w->shards[0], 0), 0);
    world_destroy(w);
}

Test(msetnx, writes_all_keys_or_none_over_several_shards)
{
    struct world *w = world_create(4);
    expect(w, "MSETNX a 1 b 2 c 3 d 4", ":1\r\n");
    expect(w, "MSETNX e 1 f 2 c 9", ":0\r\n");
    cr_expect(!place_of(w, "e").entry && !place_of(w, "f").entry);
    expect(w, "MSETNX e 1 e 2", ":1\r\n");
    expect(w, "MSETNX g 1 h", "-ERR wrong number of arguments for 'msetnx' command\r\n");
    expect(w, "GET e", "$1\r\n2\r\n");
    world_destroy(w);
}

Test(msetex, gives_all_keys_one_expiry)
{
    struct world *w = world_create(4);
    expect(w, "MSETEX 3 a 1 b 2 c 3 EX 9 NX", ":1\r\n");
    cr_expect_eq(expiry_of(w, "a"), NOW_MS + 9000);
    cr_expect_eq(expiry_of(w, "c"), NOW_MS + 9000);
    expect(w, "MSETEX 2 a 4 d 4 NX", ":0\r\n");
    expect(w, "MSETEX 2 a 4 d 4 XX", ":0\r\n");
    expect(w, "MSETEX 2 a 4 b 4 XX KEEPTTL", ":1\r\n");
    cr_expect_eq(expiry_of(w, "b"), NOW_MS + 9000);
    expect(w, "MSETEX 1 b 5", ":1\r\n");
    cr_expect_eq(expiry_of(w, "b"), DB_NO_EXPIRY);
    expect(w, "MSETEX 0 a 1", "-ERR invalid numkeys value\r\n");
    expect(w, "MSETEX 2147483648 a 1", "-ERR invalid numkeys value\r\n");
    expect(w, "MSETEX 2147483647 a 1", "-ERR wrong number of key-value pairs\r\n");
    expect(w, "MSETEX 2 a 1 b", "-ERR wrong number of key-value pairs\r\n");
    world_destroy(w);
}

Test(lcs, replies_in_all_its_forms)
{
    struct world *w = world_create(2);
    run(w, "SET a ohmytext");
    run(w, "SET b mynewtext");
    expect(w, "LCS a b", "$6\r\nmytext\r\n");
    expect(w, "LCS a b LEN", ":6\r\n");
    expect(w, "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
           "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n"
           "$3\r\nlen\r\n:6\r\n");
    w->protocol = 3;
    expect(w, "LCS a none IDX", "%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
    w->keyspace.options.bulk_size_max = 9 * 10 * 4 - 1;
    expect(w, "LCS a b LEN", "-ERR Insufficient memory, transient memory for LCS exceeds "
                             "proto-max-bulk-len\r\n");
    expect(w, "LCS a b LEN IDX",
           "-ERR If you want both the length and indexes, please just use IDX.\r\n");
    world_destroy(w);
}

/* The length by plain recursion over both strings. */
static size_t model_lcs(const char *a, const char *b)
{
    if (!*a || !*b)
        return 0;
    if (*a == *b)
        return 1 + model_lcs(a + 1, b + 1);
    size_t without_a = model_lcs(a + 1, b), without_b = model_lcs(a, b + 1);
    return without_a > without_b ? without_a : without_b;
}

static bool is_subsequence(const char *part, const char *of)
{
    for (; *part && *of; of++)
        part += *part == *of;
    return !*part;
}

Test(lcs, agrees_with_a_model)
{
    struct world *w = world_create(1);
    uint64_t seed = 12345;
    for (int round = 0; round < 300; round++) {
        char text[2][9], line[64];
        for (int t = 0; t < 2; t++) {
            size_t size = 1 + (seed = seed * 6364136223846793005u + 1) / 65536 % 8;
            for (size_t i = 0; i < size; i++)
                text[t][i] = "abc"[(seed = seed * 6364136223846793005u + 1) / 65536 % 3];
            text[t][size] = '\0';
            snprintf(line, sizeof(line), "SET k%d %s", t, text[t]);
            run(w, line);
        }
        size_t want = model_lcs(text[0], text[1]);
        char reply[32], result[16] = "";
        snprintf(reply, sizeof(reply), ":%zu\r\n", want);
        expect(w, "LCS k0 k1 LEN", reply);
        sscanf(run(w, "LCS k0 k1"), "$%*d %15s", result);
        cr_expect_eq(strlen(result), want, "%s %s: %s", text[0], text[1], result);
        cr_expect(is_subsequence(result, text[0]) && is_subsequence(result, text[1]));
    }
    world_destroy(w);
}
