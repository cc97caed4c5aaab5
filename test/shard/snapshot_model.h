/* What a snapshot must hold, and what it does: each key with all that is written of it, summed up
 * so that the order of what has none makes no difference. */
#pragma once

#include <criterion/criterion.h>
#include <liblzf/lzf.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/crc64.h"
#include "proto/mem.h"
#include "shard/rdb.h"
#include "shard/shard.h"
#include "shard/snapshot.h"

struct record {
    uint64_t sum;   /* of all of it */
    char label[40]; /* database and key */
};

struct records {
    struct record *all;
    size_t count, cap;
};

static inline void records_add(struct records *to, struct record r)
{
    if (to->count == to->cap) {
        to->cap = to->cap * 2 + 64;
        to->all = mem_realloc(to->all, to->cap * sizeof(r));
    }
    to->all[to->count++] = r;
}

static inline void records_clear(struct records *r)
{
    mem_free(r->all);
    *r = (struct records){0};
}

static inline int compare_records(const void *left, const void *right)
{
    const struct record *a = left, *b = right;
    int order = strcmp(a->label, b->label);
    return order ? order : (a->sum > b->sum) - (a->sum < b->sum);
}

static inline void records_sort(struct records *r)
{
    if (r->count)
        qsort(r->all, r->count, sizeof(struct record), compare_records);
}

static inline void records_equal(struct records *is, struct records *should)
{
    records_sort(is);
    records_sort(should);
    for (size_t i = 0; i < is->count && i < should->count; i++) {
        cr_assert_str_eq(is->all[i].label, should->all[i].label);
        cr_assert_eq(is->all[i].sum, should->all[i].sum, "%s", is->all[i].label);
    }
    cr_assert_eq(is->count, should->count);
}

/* --- Parsing --- */

static inline uint64_t take_length(struct rdb_reader *r)
{
    unsigned char first = (unsigned char)*r->at;
    size_t size = first < 0x40 ? 1 : first < 0x80 ? 2 : first == 0x80 ? 5 : 9;
    uint64_t n = first < 0x80 ? first & 0x3f : 0;
    for (size_t i = 1; i < size; i++)
        n = n << 8 | (unsigned char)r->at[i];
    r->at += size;
    cr_assert(r->at <= r->end);
    return n;
}

static inline uint64_t sum_on(uint64_t sum, const char *start, const char *end)
{
    return crc64(sum, (struct slice){start, (size_t)(end - start)});
}

/* As its text, whether it is compressed or not. */
static inline uint64_t sum_string(struct rdb_reader *r, uint64_t sum)
{
    struct rdb_reader in = *r;
    cr_assert_eq(rdb_skip_string(r), RDB_DONE);
    unsigned char first = (unsigned char)*in.at;
    if (first >= 0xc0 && first != 0xc3)
        return sum_on(sum, in.at, r->at);
    in.at += first == 0xc3;
    uint64_t packed = first == 0xc3 ? take_length(&in) : 0;
    uint64_t size = take_length(&in);
    char *text = mem_alloc(size + 1);
    if (packed)
        cr_assert_eq(lzf_decompress(in.at, (unsigned)packed, text, (unsigned)size), size);
    else
        memcpy(text, in.at, size);
    sum = crc64(sum, (struct slice){(char *)&size, sizeof(size)});
    sum = crc64(sum, (struct slice){text, size});
    mem_free(text);
    return sum;
}

static inline uint64_t sum_numbers(struct rdb_reader *r, uint64_t count, uint64_t sum)
{
    const char *start = r->at;
    for (; count > 0; count--)
        take_length(r);
    return sum_on(sum, start, r->at);
}

static inline uint64_t sum_bytes(struct rdb_reader *r, size_t count, uint64_t sum)
{
    r->at += count;
    return sum_on(sum, r->at - count, r->at);
}

/* A count, and as many elements, whose sums are summed up: so their order makes no difference. */
static inline uint64_t sum_pending(struct rdb_reader *r, bool whole, uint64_t sum)
{
    const char *start = r->at;
    uint64_t count = take_length(r), all = 0;
    sum = sum_on(sum, start, r->at);
    for (; count > 0; count--) {
        start = r->at;
        r->at += whole ? 24 : 16;
        if (whole)
            take_length(r);
        all += sum_on(0, start, r->at) * 0x9e3779b97f4a7c15u;
    }
    return crc64(sum, (struct slice){(char *)&all, sizeof(all)});
}

static inline uint64_t sum_stream(struct rdb_reader *r, uint64_t sum)
{
    for (uint64_t strings = take_length(r) * 2; strings > 0; strings--)
        sum = sum_string(r, sum);
    sum = sum_numbers(r, 8, sum);
    for (uint64_t groups = take_length(r); groups > 0; groups--) {
        sum = sum_numbers(r, 3, sum_string(r, sum));
        sum = sum_pending(r, true, sum);
        for (uint64_t consumers = take_length(r); consumers > 0; consumers--) {
            sum = sum_bytes(r, 8, sum_string(r, sum));
            sum = sum_pending(r, false, sum);
        }
    }
    return sum;
}

static inline uint64_t sum_element(struct rdb_reader *r, uint8_t type)
{
    uint64_t sum = type == RDB_HASH_FIELDS ? sum_numbers(r, 1, 0) : 0;
    sum = sum_string(r, sum);
    if (type == RDB_SET)
        return sum;
    return type == RDB_ZSET_2 ? sum_bytes(r, sizeof(double), sum) : sum_string(r, sum);
}

static inline uint64_t sum_elements(struct rdb_reader *r, uint8_t type, uint64_t sum)
{
    uint64_t all = 0, count = take_length(r);
    for (uint64_t i = 0; i < count; i++)
        all += sum_element(r, type) * 0x9e3779b97f4a7c15u;
    sum = crc64(sum, (struct slice){(char *)&count, sizeof(count)});
    return crc64(sum, (struct slice){(char *)&all, sizeof(all)});
}

static inline uint64_t sum_value(struct rdb_reader *r, uint8_t type, uint64_t sum)
{
    switch (type) {
    case RDB_STREAM_2:
        return sum_stream(r, sum);
    case RDB_LIST_QUICKLIST_2:
        for (uint64_t nodes = take_length(r); nodes > 0; nodes--)
            sum = sum_string(r, sum_numbers(r, 1, sum));
        return sum;
    case RDB_HASH_FIELDS:
        sum = sum_bytes(r, 8, sum);
        /* fallthrough */
    case RDB_SET: case RDB_HASH: case RDB_ZSET_2:
        return sum_elements(r, type, sum);
    case RDB_HASH_LISTPACK_EX:
        sum = sum_bytes(r, 8, sum);
        /* fallthrough */
    default:
        return sum_string(r, sum);
    }
}

/* The sum of a value, behind which rdb_skip_value sees its end as well. */
static inline uint64_t take_value(struct rdb_reader *r, uint8_t type, uint64_t sum)
{
    struct rdb_reader skipped = *r;
    cr_assert_eq(rdb_skip_value(&skipped, type), RDB_DONE, "type %u", type);
    sum = sum_value(r, type, sum);
    cr_assert_eq(r->at, skipped.at, "type %u", type);
    return sum;
}

/* Records to the end of the bytes. Times of access are left out. */
static inline void records_parse(struct records *to, struct slice bytes, uint32_t db)
{
    struct rdb_reader r = {.at = bytes.data, .end = bytes.data + bytes.size};
    uint64_t sum = 0;
    while (r.at < r.end) {
        const char *start = r.at;
        uint8_t type = (uint8_t)*r.at++;
        if (type == RDB_OP_SELECT_DB) {
            db = (uint32_t)take_length(&r);
        } else if (type == RDB_OP_EXPIRE_MS) {
            r.at += 8;
            sum = crc64(sum, (struct slice){start, 9});
        } else if (type == RDB_OP_FREQ) {
            r.at++;
        } else if (type == RDB_OP_IDLE) {
            take_length(&r);
        } else {
            struct record record;
            start = r.at;
            cr_assert_eq(rdb_skip_string(&r), RDB_DONE);
            snprintf(record.label, sizeof(record.label), "%u:%.*s", (unsigned)db,
                     (int)(r.at - start) - 1, start + 1);
            sum = crc64(sum, (struct slice){(char *)&type, 1});
            record.sum = take_value(&r, type, sum);
            records_add(to, record);
            sum = 0;
        }
    }
}

/* --- The state --- */

struct capture {
    struct records *to;
    const struct shard *shard;
    uint32_t db;
    bool compress;
};

static inline void capture_entry(void *context, void *item, struct table_place at)
{
    const struct capture *c = context;
    struct buf bytes;
    buf_init(&bytes);
    rdb_write_head(&bytes, item, 0, &c->shard->keyspace->options, false, c->compress);
    rdb_write_entry_value(&bytes, item, c->compress);
    records_parse(c->to, buf_slice(&bytes), c->db);
    buf_deinit(&bytes);
}

static inline void records_capture(struct records *to, struct shard *s, bool compress)
{
    for (uint32_t i = 0; i < s->keyspace->db_count; i++) {
        struct capture c = {to, s, i, compress};
        table_scan(&s->dbs[i].keys, 0, 0, 0, false, capture_entry, &c);
    }
}
