/* Heavy hitters: what Space-Saving promises. */
#include "shard/type/heavy.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct heavy *h;
static uint64_t random_state = 88172645463325252u;

static void make(void)
{
    h = calloc(1, sizeof(*h));
}

static void drop(void)
{
    heavy_deinit(h);
    free(h);
}

TestSuite(heavy, .init = make, .fini = drop);

static uint64_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 33;
}

/* The hash is the number itself, spread: what matters is that it tells keys apart. */
static void note(uint32_t db, uint32_t key)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "key:%u", key);
    heavy_note(h, db, (struct slice){text, (size_t)size}, (key + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

static const struct heavy_slot *find(uint32_t db, uint32_t key)
{
    char text[32];
    size_t size = (size_t)snprintf(text, sizeof(text), "key:%u", key);
    for (uint32_t i = 0; i < h->used; i++) {
        const struct heavy_slot *s = &h->slots[i];
        if (s->db == db && s->kept == size && memcmp(s->key, text, size) == 0)
            return s;
    }
    return NULL;
}

Test(heavy, few_keys_are_counted_exactly)
{
    for (uint32_t i = 0; i < 1000; i++)
        note(0, i % 100);
    cr_assert_eq(h->total, 1000);
    for (uint32_t i = 0; i < 100; i++) {
        cr_assert_eq(find(0, i)->count, 10);
        cr_assert_eq(find(0, i)->error, 0);
    }
}

Test(heavy, the_same_key_of_two_databases_is_two_keys)
{
    note(0, 7);
    note(3, 7);
    note(3, 7);
    cr_assert_eq(find(0, 7)->count, 1);
    cr_assert_eq(find(3, 7)->count, 2);
}

/* Against exact counts: each key above total / HEAVY_SLOTS is there, no count is too low, and none
 * is too high by more than its error. */
Test(heavy, frequent_keys_among_many_rare_ones_are_found)
{
    static uint64_t exact[100000];
    for (int i = 0; i < 200000; i++) {
        uint32_t key = next_random() % 3 == 0 ? (uint32_t)(next_random() % 20)
                                              : (uint32_t)(next_random() % 100000);
        exact[key]++;
        note(0, key);
    }
    for (uint32_t key = 0; key < 100000; key++) {
        const struct heavy_slot *s = find(0, key);
        if (exact[key] > h->total / HEAVY_SLOTS)
            cr_assert_not_null(s, "key %u", key);
        if (!s)
            continue;
        cr_assert_geq(s->count, exact[key]);
        cr_assert_leq(s->count - s->error, exact[key]);
    }
}

Test(heavy, long_keys_are_kept_cut)
{
    static char text[HEAVY_KEY_MAX * 2];
    memset(text, 'x', sizeof(text));
    heavy_note(h, 0, (struct slice){text, sizeof(text)}, 1);
    cr_assert_eq(h->slots[0].kept, HEAVY_KEY_MAX);
    cr_assert_eq(h->slots[0].size, sizeof(text));
}

Test(heavy, reset_forgets_all)
{
    note(0, 1);
    heavy_reset(h);
    cr_assert_eq(h->used, 0);
    cr_assert_eq(h->total, 0);
    note(0, 2);
    cr_assert_eq(find(0, 2)->count, 1);
}
