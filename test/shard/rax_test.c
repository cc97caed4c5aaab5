/* The radix tree against a sorted array. */
#include "shard/type/rax.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/mem.h"

#define KEY_SIZE_MAX 40
#define KEYS_MAX 4000

struct key {
    size_t size;
    unsigned char bytes[KEY_SIZE_MAX];
    void *value;
};

/* The model: keys in order. */
struct model {
    struct key keys[KEYS_MAX];
    size_t count;
};

static struct slice slice_of_key(const struct key *k)
{
    return (struct slice){(const char *)k->bytes, k->size};
}

static int compare(const struct key *a, const struct key *b)
{
    int c = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    return c ? c : (a->size > b->size) - (a->size < b->size);
}

/* The place of the first key at or above `k`. */
static size_t place(const struct model *m, const struct key *k)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(&m->keys[middle], k) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool model_has(const struct model *m, size_t at, const struct key *k)
{
    return at < m->count && compare(&m->keys[at], k) == 0;
}

static uint64_t state = 1;

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void *random_value(void)
{
    return (void *)(uintptr_t)((next_random() | 2) & ~(uint64_t)1);
}

/* Keys of 16 bytes like ids, dense at their end or sparse. */
static struct key id_key(void)
{
    struct key k = {.size = 16};
    unsigned spread = (unsigned)(next_random() % 3);
    k.bytes[5] = (unsigned char)(next_random() % 3);
    k.bytes[7] = spread ? (unsigned char)next_random() : 0;
    k.bytes[14] = (unsigned char)(next_random() % 2);
    k.bytes[15] = spread == 2 ? 0 : (unsigned char)next_random();
    return k;
}

/* Keys of any size, many of them prefixes of others. */
static struct key name_key(void)
{
    struct key k = {.size = next_random() % 8};
    for (size_t i = 0; i < k.size; i++)
        k.bytes[i] = (unsigned char)(next_random() % 3 * 127);
    if (next_random() % 4 == 0)
        for (; k.size < KEY_SIZE_MAX; k.size++)
            k.bytes[k.size] = 'x';
    return k;
}

static void expect_found(const struct model *m, size_t at, bool any, const void *value,
                         const unsigned char *found)
{
    if (!any) {
        cr_assert_null(value);
        return;
    }
    cr_assert_eq(value, m->keys[at].value);
    cr_assert_eq(memcmp(found, m->keys[at].bytes, m->keys[at].size), 0);
}

static void check_seeks(const struct rax *r, const struct model *m, const struct key *k)
{
    unsigned char found[KEY_SIZE_MAX];
    struct slice key = slice_of_key(k);
    size_t at = place(m, k);
    bool has = model_has(m, at, k);
    void *v = rax_seek(r, key, RAX_AT_LEAST, found);
    expect_found(m, at, at < m->count, v, found);
    v = rax_seek(r, key, RAX_ABOVE, found);
    expect_found(m, at + has, at + has < m->count, v, found);
    v = rax_seek(r, key, RAX_BELOW, found);
    expect_found(m, at - 1, at > 0, v, found);
    v = rax_seek(r, key, RAX_AT_MOST, found);
    expect_found(m, at + has - 1, at + has > 0, v, found);
    cr_assert_eq(rax_seek(r, key, RAX_AT_MOST, NULL), v);
    v = rax_first(r, found);
    expect_found(m, 0, m->count > 0, v, found);
    v = rax_last(r, found);
    expect_found(m, m->count - 1, m->count > 0, v, found);
}

static void put(struct rax *r, struct model *m, struct key k)
{
    size_t at = place(m, &k);
    k.value = random_value();
    void *former = rax_put(r, slice_of_key(&k), k.value);
    if (model_has(m, at, &k)) {
        cr_assert_eq(former, m->keys[at].value);
    } else {
        cr_assert_null(former);
        memmove(m->keys + at + 1, m->keys + at, (m->count - at) * sizeof(k));
        m->count++;
    }
    m->keys[at] = k;
}

static void take(struct rax *r, struct model *m, struct key k)
{
    size_t at = place(m, &k);
    void *removed = rax_remove(r, slice_of_key(&k));
    if (!model_has(m, at, &k)) {
        cr_assert_null(removed);
        return;
    }
    cr_assert_eq(removed, m->keys[at].value);
    m->count--;
    memmove(m->keys + at, m->keys + at + 1, (m->count - at) * sizeof(k));
}

static void drop(void *context, void *value)
{
    (void)value;
    ++*(size_t *)context;
}

/* Grows and shrinks by turns, so that nodes pass through all kinds both ways. */
static void run_model(struct key (*make)(void), unsigned steps, unsigned turn)
{
    struct model *m = mem_alloc_zeroed(sizeof(*m));
    struct rax_account account = {0};
    struct rax r;
    rax_init(&r, &account);
    for (unsigned i = 0; i < steps; i++) {
        struct key k = make();
        unsigned chance = i / turn % 2 ? 3 : 7;
        if (next_random() % 10 < chance && m->count < KEYS_MAX)
            put(&r, m, k);
        else if (next_random() % 4 == 0 || m->count == 0)
            take(&r, m, k);
        else
            take(&r, m, m->keys[next_random() % m->count]);
        k = make();
        check_seeks(&r, m, &k);
        size_t at = place(m, &k);
        cr_assert_eq(rax_find(&r, slice_of_key(&k)),
                     model_has(m, at, &k) ? m->keys[at].value : NULL);
        cr_assert_eq(r.count, m->count);
        if (i % 7 == 0 || m->count < 20)
            rax_check(&r);
    }
    size_t dropped = 0, left = r.count;
    for (uint64_t budget = 3; !rax_free_some(&r, drop, &dropped, &budget); budget = 3)
        cr_assert_eq(budget, 0);
    cr_assert_eq(dropped, left);
    cr_assert_eq(account.bytes, 0);
    cr_assert_eq(account.allocations, 0);
    mem_free(m);
}

Test(rax, ids_are_kept_as_a_sorted_array_keeps_them)
{
    run_model(id_key, 12000, 2500);
}

Test(rax, names_and_their_prefixes_are_kept_as_a_sorted_array_keeps_them)
{
    run_model(name_key, 20000, 1500);
}

Test(rax, a_small_tree_is_right_at_every_size)
{
    for (unsigned i = 0; i < 200; i++)
        run_model(i % 2 ? id_key : name_key, 60, 15);
}

static uint64_t nodes_of(const char *const *keys, size_t count)
{
    struct rax_account account = {0};
    struct rax r;
    rax_init(&r, &account);
    for (size_t i = 0; i < count; i++)
        rax_put(&r, slice_of(keys[i]), (void *)(uintptr_t)16);
    uint64_t nodes = r.nodes, budget = UINT64_MAX;
    rax_free_some(&r, NULL, NULL, &budget);
    return nodes;
}

/* What Redis's tree has for the same keys: the root, compressed paths, branches, values. */
Test(rax, nodes_are_counted_as_redis_counts_them)
{
    cr_assert_eq(nodes_of(NULL, 0), 1);
    cr_assert_eq(nodes_of((const char *[]){"annibale"}, 1), 2);
    cr_assert_eq(nodes_of((const char *[]){"annibale", "annientare"}, 2), 6);
    cr_assert_eq(nodes_of((const char *[]){"a1", "a2"}, 2), 4);
}

Test(rax, an_ascending_run_of_ids_takes_few_bytes_each)
{
    struct rax_account account = {0};
    struct rax r;
    rax_init(&r, &account);
    for (unsigned i = 0; i < 65536; i++) {
        unsigned char key[16] = {0, 1, 2, 3};
        key[14] = (unsigned char)(i >> 8);
        key[15] = (unsigned char)i;
        rax_put(&r, (struct slice){(char *)key, sizeof(key)}, (void *)(uintptr_t)16);
    }
    rax_check(&r);
    cr_assert_lt(account.bytes, 65536 * 12);
    uint64_t budget = UINT64_MAX;
    cr_assert(rax_free_some(&r, NULL, NULL, &budget));
    cr_assert_eq(account.bytes, 0);
}
