/* Fuzzes the reading of RDB values: any bytes as a value of any type. What is accepted must hold
 * all invariants of its type, be as large when written and read again, and bear being changed.
 *
 * The first input byte is the value's type; of the second one the lowest bits choose thresholds and
 * the clock; the rest is the value. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream_group.h"
#include "shard/type/zset.h"

#define SMALL_LIMITS 1u
#define CLOCK 2u
#define COMPRESSED_NODES 4u
#define NOW_MS 1700000000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void choose(struct keyspace *k, unsigned choice)
{
    static const unsigned char secret[HASH_SECRET_SIZE] = {1, 2, 3};
    keyspace_init(k, 1, 16, secret);
    struct keyspace_options *o = &k->options;
    if (choice & COMPRESSED_NODES)
        o->list_compress_depth = 1;
    if (!(choice & SMALL_LIMITS))
        return;
    o->hash_max_listpack_entries = o->set_max_listpack_entries = o->set_max_intset_entries = 2;
    o->zset_max_listpack_entries = 2;
    o->hash_max_listpack_value = o->set_max_listpack_value = o->zset_max_listpack_value = 8;
    o->list_max_listpack_size = 2;
}

static void check(const struct value *v, const struct keyspace *k)
{
    switch (v->type) {
    case TYPE_LIST:
        list_check(v);
        break;
    case TYPE_SET:
        set_check(v, k);
        break;
    case TYPE_ZSET:
        zset_check(v, k);
        break;
    case TYPE_HASH:
        hash_check(v, k);
        break;
    default:
        stream_check(stream_of(v));
    }
}

static void count_field(void *context, const struct hash_pair *pair)
{
    ++*(uint64_t *)context;
}

static void change_list(struct value *v, const struct keyspace *k)
{
    const struct keyspace_options *o = &k->options;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor c;
    uint64_t elements = 0;
    for (list_cursor_start(&c, v, 0, false); !list_cursor_ended(&c); list_cursor_next(&c))
        elements += list_cursor_text(&c, scratch).data != NULL;
    list_cursor_stop(&c);
    assert(elements == list_count(v));
    struct slice value = SLICE("fuzz");
    list_push(v, o, LIST_HEAD, &value, 1);
    list_replace(v, o, list_count(v) / 2, SLICE("12"));
    list_insert(v, o, list_count(v) / 2, value);
    list_remove(v, o, value, 1, true);
    list_drop(v, o, LIST_TAIL);
}

static void change_set(struct value *v, const struct keyspace *k)
{
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    bool any = set_walk_next(&w, &m);
    assert(any && set_has_member(v, k, &m));
    set_remove_at(v, k, &m);
    set_add(v, k, SLICE("fuzz"));
    set_add(v, k, SLICE("-17"));
}

static void change_zset(struct value *v, const struct keyspace *k)
{
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, v, 0, true);
    bool any = zset_walk_next(&w, &member, &score);
    assert(any);
    char copy[64];
    size_t size = member.size < sizeof(copy) ? member.size : sizeof(copy);
    if (size > 0)
        memcpy(copy, member.data, size);
    zset_put(v, k, (struct slice){copy, size}, -1.5);
    zset_put(v, k, SLICE("fuzz"), 3);
    zset_remove(v, k, (struct slice){copy, size});
    zset_remove_ranks(v, k, 0, 1);
}

static void change_hash(struct value *v, const struct keyspace *k)
{
    uint64_t fields = 0;
    hash_each(v, INT64_MIN, count_field, &fields);
    assert(fields == value_count(v));
    hash_set(v, k, SLICE("fuzz"), SLICE("value"), HASH_NO_EXPIRY, NOW_MS);
    hash_set_expiry(v, k, SLICE("fuzz"), NOW_MS + 5, NOW_MS);
    hash_ops.remove_due(v, NOW_MS + 10, 100, NULL);
    hash_set(v, k, SLICE("f"), SLICE("12"), HASH_KEEP_EXPIRY, NOW_MS);
}

static void change_groups(struct stream *s)
{
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));) {
        struct stream_consumer *c = stream_consumer_create(g, SLICE("fuzz"), NOW_MS);
        struct stream_id id = s->first_id;
        stream_group_delivered(s, g, id);
        if (c)
            stream_pel_deliver(g, c, id, NOW_MS);
        int64_t lag;
        stream_group_lag(s, g, &lag);
        stream_pel_ack(g, id);
        if (c)
            stream_consumer_destroy(g, c);
    }
}

static void change_stream(struct value *v, const struct keyspace *k)
{
    struct stream *s = stream_of(v);
    struct stream_walk w;
    struct stream_id id;
    struct slice field, value;
    uint32_t pairs;
    uint64_t messages = 0;
    for (stream_walk_start(&w, s, STREAM_ID_MIN, STREAM_ID_MAX, false);
         stream_walk_next(&w, &id, &pairs); messages++)
        while (pairs-- > 0)
            stream_walk_field(&w, &field, &value);
    assert(messages == s->length);
    change_groups(s);
    if (s->length > 0)
        stream_delete(s, s->first_id);
    id = s->last_id;
    struct slice pair[] = {SLICE("fuzz"), SLICE("1")};
    if (stream_id_increment(&id))
        stream_append(s, k, id, pair, 1);
    stream_check(s);
    stream_trim(s, &(struct stream_trim){.max_length = s->length / 2});
}

static void change(struct value *v, const struct keyspace *k)
{
    switch (v->type) {
    case TYPE_LIST:
        change_list(v, k);
        break;
    case TYPE_SET:
        change_set(v, k);
        break;
    case TYPE_ZSET:
        change_zset(v, k);
        break;
    case TYPE_HASH:
        change_hash(v, k);
        break;
    default:
        change_stream(v, k);
    }
    check(v, k);
}

/* Writes the value and reads what was written. */
static void write_and_read(const struct rdb_value *v, const struct rdb_options *o)
{
    struct buf out;
    struct rdb_value again;
    buf_init(&out);
    rdb_write_value(&out, &v->value, true);
    struct rdb_reader r = {out.data, out.data + out.size, NULL};
    enum rdb_end end = rdb_read_value(&r, rdb_type_of_value(&v->value), o, &again);
    assert(end == RDB_DONE && r.at == r.end);
    assert(value_count(&again.value) == value_count(&v->value));
    check(&again.value, o->keyspace);
    rdb_value_deinit(&again);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct keyspace k;
    choose(&k, data[1]);
    struct rdb_options o = {&k, data[1] & CLOCK ? NOW_MS : 0};
    struct rdb_reader r = {(const char *)data + 2, (const char *)data + size, NULL};
    struct rdb_value v;
    enum rdb_end end = rdb_read_value(&r, data[0], &o, &v);
    assert(r.at <= r.end && (end == RDB_CORRUPT) == (r.error != NULL));
    if (end != RDB_DONE)
        return 0;
    if (v.type != TYPE_STRING) {
        check(&v.value, &k);
        write_and_read(&v, &o);
        struct value copy = value_ops_of(v.type)->copy(&v.value);
        change(&v.value, &k);
        check(&copy, &k);
        value_free(&copy);
    }
    rdb_value_deinit(&v);
    return 0;
}
