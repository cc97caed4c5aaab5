/* What the table and the heap cost: ns an operation, the longest single add, bytes an item.
 *
 * Items are entries as the keyspace has them: 56 bytes from a heap, with a 16-byte key at offset 8.
 * Look-ups hash the key, probe, and compare keys. "Batched" look-ups go in sixteens: prefetch the
 * buckets of all, then the items of all, then find each. Keys are asked for in random order. */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "proto/mem.h"
#include "shard/type/heap.h"
#include "shard/type/table.h"

#define ITEM_SIZE 56
#define BATCH 16
#define LOOKUPS ((uint64_t)1 << 20)
#define ROUNDS 5
#define ABSENT ((uint64_t)1 << 40)

struct key {
    uint64_t words[2];
};

struct item {
    uint64_t header;
    struct key key;
    char value[ITEM_SIZE - 8 - sizeof(struct key)];
};

struct keyspace {
    struct table table;
    struct heap heap;
    uint64_t count;
    uint64_t state; /* of the random sequence */
    uint8_t secret[XXH3_SECRET_SIZE_MIN];
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(void *context)
{
    uint64_t *state = context;
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct key make_key(uint64_t number)
{
    return (struct key){{number, number * 0x9e3779b97f4a7c15u}};
}

static uint64_t hash_key(const struct keyspace *k, const struct key *key)
{
    return XXH3_64bits_withSecret(key, sizeof(*key), k->secret, sizeof(k->secret));
}

static uint64_t hash_item(const void *item, const void *context)
{
    return hash_key(context, &((const struct item *)item)->key);
}

static const struct table_type item_type = {hash_item};

static struct item *find(const struct keyspace *k, const struct key *key, uint64_t hash,
                         struct table_place *at)
{
    struct table_probe p;
    struct item *item;
    table_probe_start(&p, &k->table, hash);
    while ((item = table_probe_next(&p)))
        if (!memcmp(&item->key, key, sizeof(*key)))
            break;
    *at = table_probe_place(&p);
    return item;
}

static void add(struct keyspace *k, uint64_t number)
{
    struct item *item = heap_alloc(&k->heap, ITEM_SIZE);
    memset(item, 0, sizeof(*item));
    item->key = make_key(number);
    table_add(&k->table, hash_key(k, &item->key), item, false);
}

static void take_out(struct keyspace *k, uint64_t number)
{
    struct key key = make_key(number);
    uint64_t hash = hash_key(k, &key);
    struct table_place at;
    struct item *item = find(k, &key, hash, &at);
    assert(item);
    table_remove(&k->table, at, hash);
    heap_free(&k->heap, item, ITEM_SIZE);
}

static void keyspace_init(struct keyspace *k)
{
    memset(k, 0, sizeof(*k));
    k->state = 42;
    for (size_t i = 0; i < sizeof(k->secret); i++)
        k->secret[i] = (uint8_t)next_random(&k->state);
    table_init(&k->table, &item_type, k);
    heap_init(&k->heap);
}

static void keyspace_deinit(struct keyspace *k)
{
    table_deinit(&k->table);
    heap_deinit(&k->heap);
}

static void report(const char *what, double ns)
{
    printf("  %-18s %7.1f ns\n", what, ns);
}

/* Numbers below the count are keys in the table; those from ABSENT on are not. A hit reads the end
 * of the value, as a reply would. */
static uint64_t find_one_by_one(struct keyspace *k, uint64_t offset)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < LOOKUPS; i++) {
        struct key key = make_key(next_random(&k->state) % k->count + offset);
        struct table_place at;
        struct item *item = find(k, &key, hash_key(k, &key), &at);
        if (item)
            found += item->value[sizeof(item->value) - 1] == 0;
    }
    return found;
}

static uint64_t find_batched(struct keyspace *k, uint64_t offset)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < LOOKUPS; i += BATCH) {
        struct key keys[BATCH];
        uint64_t hashes[BATCH];
        for (int j = 0; j < BATCH; j++) {
            keys[j] = make_key(next_random(&k->state) % k->count + offset);
            hashes[j] = hash_key(k, &keys[j]);
            table_prefetch_bucket(&k->table, hashes[j]);
        }
        for (int j = 0; j < BATCH; j++)
            table_prefetch_items(&k->table, hashes[j]);
        for (int j = 0; j < BATCH; j++) {
            struct table_place at;
            struct item *item = find(k, &keys[j], hashes[j], &at);
            if (item)
                found += item->value[sizeof(item->value) - 1] == 0;
        }
    }
    return found;
}

/* The best of some rounds, as the machine may have other work. */
static void bench_find(struct keyspace *k, const char *what, uint64_t offset, bool batched)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns();
        uint64_t found = batched ? find_batched(k, offset) : find_one_by_one(k, offset);
        double ns = (double)(now_ns() - start) / (double)LOOKUPS;
        best = ns < best ? ns : best;
        assert(found == (offset ? 0 : LOOKUPS));
    }
    report(what, best);
}

static void fill(struct keyspace *k)
{
    for (uint64_t i = 0; i < k->count; i++)
        add(k, i);
}

/* Empties the keyspace. A stride that is prime to the counts used here goes through all keys. */
static void drain(struct keyspace *k)
{
    const uint64_t stride = 786433;
    for (uint64_t i = 0; i < k->count; i++)
        take_out(k, i * stride % k->count);
    assert(k->table.count == 0 && k->heap.used_bytes == 0);
}

/* From none to all and back, often enough for the clock. */
static void bench_fill(struct keyspace *k)
{
    uint64_t rounds = 1 + ((uint64_t)1 << 20) / k->count;
    uint64_t add_ns = 0;
    uint64_t remove_ns = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t start = now_ns();
        fill(k);
        uint64_t filled = now_ns();
        drain(k);
        add_ns += filled - start;
        remove_ns += now_ns() - filled;
    }
    report("add", (double)add_ns / (double)(rounds * k->count));
    report("remove", (double)remove_ns / (double)(rounds * k->count));
}

static void bench_operations(uint64_t count)
{
    struct keyspace k;
    keyspace_init(&k);
    k.count = count;
    printf("%llu items\n", (unsigned long long)count);
    bench_fill(&k);
    fill(&k);
    bench_find(&k, "find hit", 0, false);
    bench_find(&k, "find hit, batched", 0, true);
    bench_find(&k, "find miss", ABSENT, false);
    bench_find(&k, "find miss, batched", ABSENT, true);
    keyspace_deinit(&k);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The longest single adds to the table while it grows. The same growth runs several times and the
 * best time of each add counts, so that what is left is the table's own work, not the machine's
 * pauses. */
static void bench_longest_add(uint64_t count)
{
    struct keyspace k;
    keyspace_init(&k);
    struct item *items = mem_alloc_zeroed(count * sizeof(*items));
    uint64_t *best = mem_alloc(count * sizeof(*best));
    memset(best, 0xff, count * sizeof(*best));
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < count; i++) {
            items[i].key = make_key(i);
            uint64_t start = now_ns();
            table_add(&k.table, hash_key(&k, &items[i].key), &items[i], false);
            uint64_t ns = now_ns() - start;
            best[i] = ns < best[i] ? ns : best[i];
        }
        table_deinit(&k.table);
    }
    qsort(best, count, sizeof(*best), compare_u64);
    printf("single adds up to %llu items: median %.2f us, p99.9 %.2f us, longest %.2f us\n",
           (unsigned long long)count, (double)best[count / 2] / 1e3,
           (double)best[count - count / 1000] / 1e3, (double)best[count - 1] / 1e3);
    mem_free(best);
    mem_free(items);
    keyspace_deinit(&k);
}

/* Resident memory, from the kernel. */
static double resident_bytes(void)
{
    unsigned long long total = 0;
    unsigned long long resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * 4096;
}

static void bench_memory(void)
{
    struct keyspace k;
    double before = resident_bytes();
    keyspace_init(&k);
    printf("bytes an item of %d:       table   heap   both   resident\n", ITEM_SIZE);
    for (uint64_t count = 1000000; count <= 2000000; count += 125000) {
        while (k.table.count < count)
            add(&k, k.table.count);
        double table = (double)table_memory(&k.table) / (double)count;
        double heap = (double)k.heap.held_bytes / (double)count;
        printf("  %8llu items        %7.2f %6.2f %6.2f %8.2f\n", (unsigned long long)count, table,
               heap, table + heap, (resident_bytes() - before) / (double)count);
    }
    keyspace_deinit(&k);
}

int main(void)
{
    bench_memory();
    bench_operations(1000);
    bench_operations(100000);
    bench_operations(2000000);
    bench_longest_add(2000000);
    return 0;
}
