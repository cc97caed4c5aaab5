/* Merging what the shards have journaled into the bytes of a file. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/persist/journal.h"
#include "shard/journal.h"

#define SHARDS 4

struct rig {
    struct keyspace keyspace;
    struct shard shards[SHARDS];
    struct buf parts[SHARDS];
    struct buf out;
    int64_t db, ts, now_s;
};

static struct rig *make(void)
{
    static unsigned char secret[HASH_SECRET_SIZE];
    struct rig *r = calloc(1, sizeof(*r));
    keyspace_init(&r->keyspace, SHARDS, 16, secret);
    for (uint32_t i = 0; i < SHARDS; i++)
        shard_init(&r->shards[i], i, &r->keyspace, i + 1);
    r->db = -1;
    r->now_s = -1;
    return r;
}

static void destroy(struct rig *r)
{
    for (uint32_t i = 0; i < SHARDS; i++) {
        buf_deinit(&r->parts[i]);
        shard_deinit(&r->shards[i]);
    }
    buf_deinit(&r->out);
    free(r);
}

/* A command of one word. */
static void add(struct rig *r, uint32_t shard, uint32_t db, const char *word)
{
    struct slice argv = slice_of(word);
    journal_append(&r->shards[shard], db, &argv, 1);
}

static void end(struct rig *r, uint32_t shard, uint64_t cursor, bool in_order, uint64_t stamp)
{
    journal_close_unit(&r->shards[shard], cursor, in_order, stamp);
}

static void one(struct rig *r, uint32_t shard, uint64_t cursor, uint64_t stamp, const char *word)
{
    add(r, shard, 0, word);
    end(r, shard, cursor, false, stamp);
}

/* The words of what is merged, with '|' for lines of the time. */
static const char *merge(struct rig *r)
{
    static char words[4096];
    const struct buf *parts[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) {
        r->parts[i].size = 0;
        journal_take(&r->shards[i], &r->parts[i]);
        parts[i] = &r->parts[i];
    }
    r->out.size = 0;
    journal_merge(parts, SHARDS, &r->db, &r->ts, r->now_s, &r->out);
    size_t size = 0;
    words[0] = '\0';
    buf_append(&r->out, "", 1);
    for (char *line = strtok(r->out.data, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        if (line[0] == '*' || line[0] == '$')
            continue;
        size += (size_t)snprintf(words + size, sizeof(words) - size, "%s%s", size ? " " : "", line);
    }
    return words;
}

Test(journal_merge, requests_stand_by_cursor_then_by_stamp)
{
    struct rig *r = make();
    one(r, 0, 5, 100, "c");
    one(r, 0, 7, 110, "e");
    one(r, 1, 4, 300, "a");
    one(r, 1, 5, 301, "d");
    one(r, 3, 5, 99, "b");
    cr_assert_str_eq(merge(r), "SELECT 0 a b c d e");
    destroy(r);
}

Test(journal_merge, a_request_comes_before_the_transaction_of_its_cursor)
{
    struct rig *r = make();
    add(r, 2, 0, "t5");
    end(r, 2, 5, true, 10);
    one(r, 2, 6, 11, "after");
    one(r, 0, 5, 900, "before");
    cr_assert_str_eq(merge(r), "SELECT 0 before t5 after");
    destroy(r);
}

Test(journal_merge, parts_of_one_ticket_are_one_transaction)
{
    struct rig *r = make();
    for (uint32_t i = 0; i < 3; i++) {
        const char *words[] = {"p0", "p1", "p2"};
        add(r, i, 0, words[i]);
        end(r, i, 8, true, 50 - i);
    }
    add(r, 1, 0, "q1");
    end(r, 1, 8, true, 60);
    add(r, 0, 0, "alone");
    end(r, 0, 9, true, 70);
    cr_assert_str_eq(merge(r), "SELECT 0 MULTI p0 p1 q1 p2 EXEC alone");
    destroy(r);
}

Test(journal_merge, a_command_of_every_shard_divides_the_parts)
{
    struct rig *r = make();
    add(r, 1, 0, "before");
    end(r, 1, 3, true, 1);
    journal_next_round(&r->shards[1]);
    add(r, 1, 0, "behind");
    end(r, 1, 3, true, 2);
    journal_next_round(&r->shards[0]);
    add(r, 0, 0, "flushall");
    end(r, 0, 3, true, 1);
    cr_assert_str_eq(merge(r), "SELECT 0 MULTI before flushall behind EXEC");
    destroy(r);
}

Test(journal_merge, a_unit_of_several_commands_is_a_transaction)
{
    struct rig *r = make();
    one(r, 0, 0, 1, "a");
    add(r, 0, 0, "b");
    add(r, 0, 0, "c");
    end(r, 0, 0, false, 2);
    one(r, 0, 0, 3, "d");
    cr_assert_str_eq(merge(r), "SELECT 0 a MULTI b c EXEC d");
    destroy(r);
}

Test(journal_merge, a_database_is_selected_where_it_changes_also_over_merges)
{
    struct rig *r = make();
    add(r, 0, 3, "a");
    end(r, 0, 0, false, 1);
    add(r, 1, 3, "b");
    add(r, 1, 4, "c");
    end(r, 1, 0, false, 2);
    cr_assert_str_eq(merge(r), "SELECT 3 a MULTI b SELECT 4 c EXEC");
    add(r, 2, 4, "d");
    end(r, 2, 1, false, 9);
    cr_assert_str_eq(merge(r), "d");
    destroy(r);
}

Test(journal_merge, the_time_is_told_once_a_second_and_not_within_a_transaction)
{
    struct rig *r = make();
    r->now_s = 1000;
    cr_assert_str_eq(merge(r), "");
    add(r, 0, 0, "a");
    add(r, 0, 0, "b");
    end(r, 0, 0, false, 1);
    cr_assert_str_eq(merge(r), "#TS:1000 SELECT 0 MULTI a b EXEC");
    one(r, 0, 0, 2, "c");
    cr_assert_str_eq(merge(r), "c");
    r->now_s = 1001;
    one(r, 0, 0, 3, "d");
    cr_assert_str_eq(merge(r), "#TS:1001 d");
    destroy(r);
}

/* Units of random places, given to the shards in their order, come out in the order of all. */
Test(journal_merge, random_units_come_out_in_order)
{
    enum { UNITS = 2000 };
    struct rig *r = make();
    char expected[64 * UNITS], *want = expected;
    uint64_t cursor = 0;
    srand(7);
    want += sprintf(want, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    for (int i = 0; i < UNITS; i++) {
        char word[16];
        int size = sprintf(word, "u%d", i);
        cursor += (uint64_t)(rand() % 3 == 0);
        one(r, (uint32_t)rand() % SHARDS, cursor, 1000 + (uint64_t)i, word);
        want += sprintf(want, "*1\r\n$%d\r\n%s\r\n", size, word);
    }
    const struct buf *parts[SHARDS];
    for (uint32_t i = 0; i < SHARDS; i++) {
        journal_take(&r->shards[i], &r->parts[i]);
        parts[i] = &r->parts[i];
    }
    journal_merge(parts, SHARDS, &r->db, &r->ts, -1, &r->out);
    cr_assert_eq(r->out.size, (size_t)(want - expected));
    cr_assert_eq(memcmp(r->out.data, expected, r->out.size), 0);
    destroy(r);
}
