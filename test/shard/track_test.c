/* Who may have cached which keys: by hand, and a random run against a model. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/shard.h"

#define KEYS 60
#define CLIENTS 40

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

TestSuite(track, .init = set_up, .fini = tear_down);

static void read_key(const char *key, uint64_t client)
{
    track_read(&shard, slice_of(key), keyspace_hash(&keyspace, slice_of(key)), client);
}

static void touch(const char *key, uint64_t by)
{
    track_touch(&shard, slice_of(key), by);
}

/* Takes the only event there is. */
static struct event *take_one(void)
{
    struct event *e = event_take(&shard);
    cr_assert(e && !e->next, "one event is there");
    return e;
}

static void expect_event(const char *key, uint64_t by, uint32_t count, const uint64_t *clients)
{
    struct event *e = take_one();
    cr_expect_eq(e->kind, EVENT_INVALIDATE);
    cr_expect(slice_equal((struct slice){e->key, e->key_size}, slice_of(key)));
    cr_expect_eq(e->client, by);
    cr_assert_eq(e->client_count, count);
    for (uint32_t i = 0; i < count; i++)
        cr_expect_eq(e->clients[i], clients[i]);
    event_free(e);
}

Test(track, a_change_names_the_readers_once_and_forgets_them)
{
    read_key("k", track_client(2, 9));
    read_key("k", track_client(0, 11));
    read_key("k", track_client(0, 11));
    cr_expect_eq(shard.tracks.client_count, 2);
    cr_expect(track_any(&shard.tracks));
    touch("k", 7);
    expect_event("k", 7, 2, (uint64_t[]){track_client(0, 11), track_client(2, 9)});
    touch("k", 7);
    cr_expect_null(event_take(&shard));
    cr_expect_eq(shard.tracks.client_count, 0);
    cr_expect_not(track_any(&shard.tracks));
}

Test(track, a_client_word_says_home_and_id)
{
    uint64_t client = track_client(255, (UINT64_C(1) << TRACK_ID_BITS) - 1);
    cr_expect_eq(track_home(client), 255);
    cr_expect_eq(track_id(client), (UINT64_C(1) << TRACK_ID_BITS) - 1);
}

Test(track, a_prefix_concerns_each_core_once)
{
    track_prefix_add(&shard, SLICE("a"), 3);
    track_prefix_add(&shard, SLICE("ab"), 3);
    track_prefix_add(&shard, SLICE(""), 1);
    touch("abc", 5);
    expect_event("abc", 5, 2, (uint64_t[]){track_client(1, 0), track_client(3, 0)});
    touch("b", 0);
    expect_event("b", 0, 1, (uint64_t[]){track_client(1, 0)});
    track_prefix_remove(&shard, SLICE(""), 1);
    touch("b", 0);
    cr_expect_null(event_take(&shard));
    touch("", 0);
    cr_expect_null(event_take(&shard));
}

Test(track, readers_come_before_cores)
{
    read_key("k", track_client(4, 1));
    track_prefix_add(&shard, SLICE("k"), 0);
    touch("k", 0);
    expect_event("k", 0, 2, (uint64_t[]){track_client(4, 1), track_client(0, 0)});
}

Test(track, prefixes_are_counted_by_client_and_by_kind)
{
    track_prefix_add(&shard, SLICE("a"), 0);
    track_prefix_add(&shard, SLICE("b"), 0);
    track_prefix_add(&shard, SLICE("a"), 1);
    track_prefix_add(&shard, SLICE("a"), 1);
    cr_expect_eq(track_prefix_kinds(&shard.tracks), 2);
    cr_expect_eq(shard.tracks.prefix_count, 3);
    track_prefix_remove(&shard, SLICE("a"), 1);
    cr_expect_eq(shard.tracks.prefix_count, 3);
    track_prefix_remove(&shard, SLICE("a"), 1);
    track_prefix_remove(&shard, SLICE("a"), 0);
    cr_expect_eq(track_prefix_kinds(&shard.tracks), 1);
    cr_expect(track_any(&shard.tracks));
    track_prefix_remove(&shard, SLICE("b"), 0);
    cr_expect_not(track_any(&shard.tracks));
}

Test(track, a_key_changed_again_by_the_same_command_is_told_once)
{
    track_prefix_add(&shard, SLICE(""), 0);
    touch("k", 5);
    touch("k", 5);
    expect_event("k", 5, 1, (uint64_t[]){track_client(0, 0)});
    touch("k", 5);
    touch("k", 6);
    touch("l", 6);
    touch("k", 6);
    uint32_t n = 0;
    for (struct event *e = event_take(&shard), *next; e; e = next, n++) {
        next = e->next;
        event_free(e);
    }
    cr_expect_eq(n, 4);
}

Test(track, what_is_taken_back_leaves_its_invalidations_and_no_notifications)
{
    event_notify(&shard, 0, SLICE("before"), "set");
    struct event *mark = event_mark(&shard.events);
    read_key("k", 1);
    event_notify(&shard, 0, SLICE("k"), "set");
    touch("k", 2);
    event_notify(&shard, 0, SLICE("k"), "del");
    event_cut(&shard, mark);
    struct event *e = event_take(&shard);
    cr_assert(e && e->next && !e->next->next);
    cr_expect_eq(e->kind, EVENT_NOTIFY);
    cr_expect_eq(e->next->kind, EVENT_INVALIDATE);
    event_free(e->next);
    event_free(e);
    event_cut(&shard, NULL);
    event_notify(&shard, 0, SLICE("k"), "set");
    event_free(take_one());
}

Test(track, a_flush_forgets_all_and_is_freed_in_steps)
{
    char key[16];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 5000; i++) {
            snprintf(key, sizeof(key), "%d", i);
            for (uint64_t client = 1; client <= (uint64_t)(i % 7); client++)
                read_key(key, client);
        }
        track_forget_all(&shard);
        cr_expect_eq(shard.tracks.keys.count, 0);
        cr_expect_eq(shard.tracks.client_count, 0);
    }
    cr_expect_null(event_take(&shard));
    uint32_t steps = 1;
    while (track_collect(&shard, 100))
        steps++;
    cr_expect_gt(steps, 10);
    cr_expect_eq(shard.tracks.bytes, 0);
    cr_expect_not(track_collect(&shard, 100));
}

/* The model: a bit a client and key. */
static uint64_t readers[KEYS];

static void name(uint32_t key, char *text)
{
    sprintf(text, "key:%u", key);
}

static void expect_readers(const struct event *e, uint32_t key)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < e->client_count; i++) {
        cr_assert(i == 0 || e->clients[i - 1] < e->clients[i], "clients are sorted");
        seen |= UINT64_C(1) << (track_id(e->clients[i]) - 1);
    }
    cr_assert_eq(seen, readers[key]);
    cr_assert_eq((uint32_t)__builtin_popcountll(seen), e->client_count);
    readers[key] = 0;
}

static void touch_both(uint32_t key)
{
    char text[16];
    name(key, text);
    touch(text, 0);
    if (readers[key] == 0) {
        cr_assert_null(event_take(&shard));
        return;
    }
    struct event *e = take_one();
    expect_readers(e, key);
    event_free(e);
}

static void forget_both(void)
{
    if (shard.tracks.keys.count == 0)
        return;
    track_forget_one(&shard);
    struct event *e = take_one();
    unsigned key;
    char text[16];
    snprintf(text, sizeof(text), "%.*s", (int)e->key_size, e->key);
    cr_assert_eq(sscanf(text, "key:%u", &key), 1);
    expect_readers(e, key);
    event_free(e);
}

static void expect_counts(void)
{
    uint64_t keys = 0, clients = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        keys += readers[i] != 0;
        clients += (uint64_t)__builtin_popcountll(readers[i]);
    }
    cr_assert_eq(shard.tracks.keys.count, keys);
    cr_assert_eq(shard.tracks.client_count, clients);
}

Test(track, does_what_the_model_does)
{
    char text[16];
    srand(3);
    for (int i = 0; i < 200000; i++) {
        uint32_t key = (uint32_t)rand() % KEYS, client = (uint32_t)rand() % CLIENTS;
        switch (rand() % 40) {
        case 0:
            touch_both(key);
            break;
        case 1:
            forget_both();
            break;
        default:
            name(key, text);
            read_key(text, track_client(client % 8, client + 1));
            readers[key] |= UINT64_C(1) << client;
        }
        if (i % 10000 == 9999) {
            track_forget_all(&shard);
            memset(readers, 0, sizeof(readers));
        }
        if (i % 1000 == 0)
            expect_counts();
    }
}
