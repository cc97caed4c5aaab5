/* Lines of those who wait. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/shard.h"

static struct keyspace keyspace;
static struct shard shard;

static void set_up(void)
{
    unsigned char secret[HASH_SECRET_SIZE] = {1};
    keyspace_init(&keyspace, 1, 16, secret);
    shard_init(&shard, 0, &keyspace, 1);
}

static void tear_down(void)
{
    shard_deinit(&shard);
}

TestSuite(wait, .init = set_up, .fini = tear_down);

static void join(const char *key, struct wait_link *link, int *waiter)
{
    wait_join(&shard, 0, slice_of(key), link, waiter, false);
}

static int *served(struct wait_line *line, uint32_t i)
{
    struct wait_link *link = line->first;
    while (i-- > 0)
        link = link->next;
    return link->waiter;
}

Test(wait, a_line_is_in_the_order_of_joining)
{
    struct wait_link links[3];
    int waiters[3];
    for (int i = 0; i < 3; i++)
        join("k", &links[i], &waiters[i]);
    struct wait_line *line = wait_find(&shard, 0, SLICE("k"));
    cr_expect_eq(line->count, 3);
    for (uint32_t i = 0; i < 3; i++)
        cr_expect_eq(served(line, i), &waiters[i]);
    wait_leave(&shard, &links[1]);
    cr_expect_eq(served(line, 0), &waiters[0]);
    cr_expect_eq(served(line, 1), &waiters[2]);
    wait_leave(&shard, &links[0]);
    wait_leave(&shard, &links[2]);
    cr_expect_null(wait_find(&shard, 0, SLICE("k")));
    cr_expect_eq(shard.waits.link_count, 0);
}

Test(wait, the_same_key_has_a_line_in_each_database)
{
    struct wait_link a, b;
    int waiter;
    wait_join(&shard, 0, SLICE("k"), &a, &waiter, false);
    wait_join(&shard, 1, SLICE("k"), &b, &waiter, true);
    cr_expect_eq(wait_line_count(&shard.waits), 2);
    wait_signal(&shard, 1, SLICE("k"));
    struct wait_line *line = wait_take_ready(&shard);
    cr_expect_eq(line->db, 1);
    cr_expect_eq(line->removal_count, 1);
    cr_expect_null(wait_take_ready(&shard));
    wait_release(&shard, line);
    wait_leave(&shard, &a);
    wait_leave(&shard, &b);
}

Test(wait, nobody_stands_in_a_line_twice_running)
{
    struct wait_link a, b;
    int waiter;
    cr_expect(wait_join(&shard, 0, SLICE("k"), &a, &waiter, true));
    cr_expect_not(wait_join(&shard, 0, SLICE("k"), &b, &waiter, true));
    cr_expect_eq(shard.waits.link_count, 1);
    wait_leave(&shard, &a);
    cr_expect_eq(wait_line_count(&shard.waits), 0);
}

Test(wait, a_ready_line_is_taken_once_in_order)
{
    struct wait_link a, b;
    int waiter;
    join("a", &a, &waiter);
    join("b", &b, &waiter);
    wait_signal(&shard, 0, SLICE("b"));
    wait_signal(&shard, 0, SLICE("a"));
    wait_signal(&shard, 0, SLICE("b"));
    wait_signal(&shard, 0, SLICE("nobody's"));
    struct wait_line *first = wait_take_ready(&shard), *second = wait_take_ready(&shard);
    cr_expect(slice_equal(wait_key(first), SLICE("b")));
    cr_expect(slice_equal(wait_key(second), SLICE("a")));
    cr_expect_null(wait_take_ready(&shard));
    wait_release(&shard, first);
    wait_release(&shard, second);
    wait_leave(&shard, &a);
    wait_leave(&shard, &b);
}

Test(wait, a_line_that_empties_while_it_is_ready_goes_when_it_is_released)
{
    struct wait_link a;
    int waiter;
    join("a", &a, &waiter);
    wait_signal(&shard, 0, SLICE("a"));
    wait_leave(&shard, &a);
    cr_expect_eq(wait_line_count(&shard.waits), 1);
    struct wait_line *line = wait_take_ready(&shard);
    cr_expect_eq(line->count, 0);
    wait_release(&shard, line);
    cr_expect_eq(wait_line_count(&shard.waits), 0);
}

Test(wait, a_database_signals_all_its_lines)
{
    enum { COUNT = 100 };
    struct wait_link links[COUNT];
    char key[16];
    int waiter;
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        wait_join(&shard, (uint32_t)(i % 2), slice_of(key), &links[i], &waiter, false);
    }
    wait_signal_db(&shard, 1);
    int ready = 0;
    for (struct wait_line *line; (line = wait_take_ready(&shard)); ready++) {
        cr_expect_eq(line->db, 1);
        wait_release(&shard, line);
    }
    cr_expect_eq(ready, COUNT / 2);
    for (int i = 0; i < COUNT; i++)
        wait_leave(&shard, &links[i]);
}
