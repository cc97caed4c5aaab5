/* RDB: collections made of elements, one by one or as a listpack. See rdb_making.h.
 *
 * A listpack is kept up to the configured number of elements, whatever their sizes, as Redis does;
 * what comes element by element goes by all thresholds. */
#include "shard/rdb_making.h"

#include <math.h>

#include "proto/mem.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/listpack.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"

/* A larger listpack is taken apart: what is added to one could meet LISTPACK_SIZE_MAX. */
#define KEEP_SIZE_MAX (LISTPACK_SIZE_MAX / 2)
/* Expiries are compared with this while a hash is filled: all fields count. */
#define MOMENT_FIRST INT64_MIN

/* --- Element by element --- */

void rdb_begin(struct rdb_making *m, unsigned type)
{
    m->v->value = value_ops_of(type)->create(m->o->keyspace);
    m->v->type = (uint8_t)type;
}

void rdb_become(struct rdb_making *m, unsigned type, unsigned encoding, void *data)
{
    m->v->value = (struct value){(uint8_t)type, (uint8_t)encoding, data};
    m->v->type = (uint8_t)type;
}

enum rdb_end rdb_add_field(struct rdb_making *m, struct slice field, struct slice value,
                           int64_t expires_ms)
{
    if (!hash_set(&m->v->value, m->o->keyspace, field, value, expires_ms, MOMENT_FIRST))
        return rdb_corrupt(m->r, "a field twice in a hash");
    return RDB_DONE;
}

enum rdb_end rdb_add_member(struct rdb_making *m, struct slice member)
{
    const struct keyspace *k = m->o->keyspace;
    if (member.size > k->options.set_max_listpack_value)
        set_expect(&m->v->value, k, member, UINT64_MAX);
    if (!set_add(&m->v->value, k, member))
        return rdb_corrupt(m->r, "a member twice in a set");
    return RDB_DONE;
}

enum rdb_end rdb_add_scored(struct rdb_making *m, struct slice member, double score)
{
    const struct keyspace *k = m->o->keyspace;
    if (isnan(score))
        return rdb_corrupt(m->r, "a score that is not a number");
    if (member.size > UINT32_MAX)
        return rdb_corrupt(m->r, "a member of a sorted set beyond 4 GiB");
    if (member.size > k->options.zset_max_listpack_value)
        zset_reserve(&m->v->value, k, UINT64_MAX);
    if (!zset_put(&m->v->value, k, member, score))
        return rdb_corrupt(m->r, "a member twice in a sorted set");
    return RDB_DONE;
}

/* --- Listpacks --- */

/* True where no two of the elements at every `width`th place have the same text. The places met are
 * kept by hash: the hash is seeded, so no input makes it slow. */
static bool are_distinct(const struct keyspace *k, const unsigned char *lp, uint32_t count,
                         uint32_t width)
{
    uint32_t small[512] = {0}, *slots = small, mask = 15;
    while (mask < 2 * (uint64_t)(count / width))
        mask = 2 * mask + 1;
    if (mask >= sizeof(small) / sizeof(small[0]))
        slots = mem_alloc_zeroed(((size_t)mask + 1) * sizeof(*slots));
    bool distinct = true;
    for (uint32_t at = listpack_first(lp); distinct && at != LISTPACK_NONE;) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        struct slice text = listpack_text(lp, at, scratch);
        uint32_t i = (uint32_t)keyspace_hash(k, text) & mask;
        for (; slots[i] && distinct; i = (i + 1) & mask)
            distinct = !listpack_equal(lp, slots[i], text);
        slots[i] = at;
        for (uint32_t step = 0; step < width && at != LISTPACK_NONE; step++)
            at = listpack_next(lp, at);
    }
    if (slots != small)
        mem_free(slots);
    return distinct;
}

static bool is_kept(const unsigned char *lp, uint64_t elements, uint64_t max)
{
    return elements <= max && listpack_size(lp) <= KEEP_SIZE_MAX;
}

static enum rdb_end add_fields(struct rdb_making *m, const unsigned char *lp, uint64_t pairs)
{
    enum rdb_end end = RDB_DONE;
    char scratch[2][NUMBER_INTEGER_SIZE_MAX];
    rdb_begin(m, TYPE_HASH);
    if (pairs > m->o->keyspace->options.hash_max_listpack_entries)
        hash_prepare(&m->v->value, m->o->keyspace, NULL, pairs);
    for (uint32_t at = listpack_first(lp); end == RDB_DONE && at != LISTPACK_NONE;) {
        uint32_t value_at = listpack_next(lp, at);
        end = rdb_add_field(m, listpack_text(lp, at, scratch[0]),
                            listpack_text(lp, value_at, scratch[1]), HASH_NO_EXPIRY);
        at = listpack_next(lp, value_at);
    }
    return end;
}

enum rdb_end rdb_take_hash(struct rdb_making *m, unsigned char *lp)
{
    const struct keyspace *k = m->o->keyspace;
    uint32_t count = listpack_count(lp);
    enum rdb_end end = RDB_DONE;
    if (count == 0)
        end = RDB_EMPTY;
    else if (count % 2)
        end = rdb_corrupt(m->r, "a field without a value in a packed hash");
    else if (!is_kept(lp, count / 2, k->options.hash_max_listpack_entries))
        end = add_fields(m, lp, count / 2);
    else if (!are_distinct(k, lp, count, 2))
        end = rdb_corrupt(m->r, "a field twice in a packed hash");
    else
        rdb_become(m, TYPE_HASH, ENC_LISTPACK, lp);
    if (m->v->value.data != lp)
        mem_free(lp);
    return end;
}

static enum rdb_end add_members(struct rdb_making *m, const unsigned char *lp)
{
    enum rdb_end end = RDB_DONE;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    rdb_begin(m, TYPE_SET);
    set_expect(&m->v->value, m->o->keyspace, SLICE(""), UINT64_MAX);
    for (uint32_t at = listpack_first(lp); end == RDB_DONE && at != LISTPACK_NONE;
         at = listpack_next(lp, at))
        end = rdb_add_member(m, listpack_text(lp, at, scratch));
    return end;
}

enum rdb_end rdb_take_set(struct rdb_making *m, unsigned char *lp)
{
    const struct keyspace *k = m->o->keyspace;
    uint32_t count = listpack_count(lp);
    enum rdb_end end = RDB_DONE;
    if (count == 0)
        end = RDB_EMPTY;
    else if (!is_kept(lp, count, k->options.set_max_listpack_entries))
        end = add_members(m, lp);
    else if (!are_distinct(k, lp, count, 1))
        end = rdb_corrupt(m->r, "a member twice in a packed set");
    else
        rdb_become(m, TYPE_SET, ENC_LISTPACK, lp);
    if (m->v->value.data != lp)
        mem_free(lp);
    return end;
}

static bool read_score(const unsigned char *lp, uint32_t at, double *score)
{
    struct listpack_item item = listpack_get(lp, at);
    *score = (double)item.integer;
    return !item.text.data || number_parse_double(item.text, score);
}

static int compare_text(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.data, b.data, size) : 0;
    return order ? order : a.size < b.size ? -1 : a.size > b.size;
}

/* Looks at the scores, and whether members ascend. False where one is no score. */
static bool check_scores(const unsigned char *lp, bool *ascends)
{
    struct slice last = {NULL, 0};
    double last_score = -INFINITY;
    char scratch[2][NUMBER_INTEGER_SIZE_MAX];
    unsigned turn = 0;
    *ascends = true;
    for (uint32_t at = listpack_first(lp), next; at != LISTPACK_NONE; at = next) {
        uint32_t score_at = listpack_next(lp, at);
        double score;
        if (!read_score(lp, score_at, &score))
            return false;
        next = listpack_next(lp, score_at);
        struct slice member = listpack_text(lp, at, scratch[turn ^= 1]);
        if (last.data && (score < last_score ||
                          (score == last_score && compare_text(last, member) >= 0)))
            *ascends = false;
        last = member;
        last_score = score;
    }
    return true;
}

static enum rdb_end add_all_scored(struct rdb_making *m, const unsigned char *lp, uint64_t pairs)
{
    enum rdb_end end = RDB_DONE;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    rdb_begin(m, TYPE_ZSET);
    zset_reserve(&m->v->value, m->o->keyspace, pairs);
    for (uint32_t at = listpack_first(lp); end == RDB_DONE && at != LISTPACK_NONE;) {
        uint32_t score_at = listpack_next(lp, at);
        double score = NAN;
        read_score(lp, score_at, &score);
        end = rdb_add_scored(m, listpack_text(lp, at, scratch), score);
        at = listpack_next(lp, score_at);
    }
    return end;
}

enum rdb_end rdb_take_zset(struct rdb_making *m, unsigned char *lp)
{
    const struct keyspace *k = m->o->keyspace;
    uint32_t count = listpack_count(lp);
    enum rdb_end end = RDB_DONE;
    bool ascends;
    if (count == 0)
        end = RDB_EMPTY;
    else if (count % 2)
        end = rdb_corrupt(m->r, "a member without a score in a packed sorted set");
    else if (!check_scores(lp, &ascends))
        end = rdb_corrupt(m->r, "a score that is not a number in a packed sorted set");
    else if (!ascends || !is_kept(lp, count / 2, k->options.zset_max_listpack_entries))
        end = add_all_scored(m, lp, count / 2);
    else if (!are_distinct(k, lp, count, 2))
        end = rdb_corrupt(m->r, "a member twice in a packed sorted set");
    else
        rdb_become(m, TYPE_ZSET, ENC_LISTPACK, lp);
    if (m->v->value.data != lp)
        mem_free(lp);
    return end;
}

void rdb_take_list_node(struct rdb_making *m, unsigned char *lp)
{
    if (listpack_first(lp) == LISTPACK_NONE)
        mem_free(lp);
    else
        list_append_node(&m->v->value, &m->o->keyspace->options, lp);
}
