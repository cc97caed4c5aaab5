/* RDB: values read, of all types but streams (rdb_read_stream.c); packed forms of older versions
 * are turned into listpacks first (rdb_read_old.c). What becomes of them, and in which encoding, is
 * rdb_making.c's. */
#include "shard/rdb.h"

#include <math.h>

#include "proto/mem.h"
#include "shard/rdb_making.h"
#include "shard/type/hash.h"
#include "shard/type/intset.h"
#include "shard/type/list.h"
#include "shard/type/listpack.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"

/* Bytes on the stack for strings that have to be unpacked: longer ones are allocated. */
#define SCRATCH_SIZE 1024
/* Bytes of a member in a listpack, for whom room is made in advance. */
#define MEMBER_SIZE_USUAL 24

#define ASCII_NAN 253
#define ASCII_INFINITE 254

enum { NODE_PLAIN = 1, NODE_PACKED = 2 };

/* --- Strings that are packed forms --- */

static void *copy_of(struct slice bytes)
{
    return memcpy(mem_alloc(bytes.size), bytes.data, bytes.size);
}

static enum rdb_end read_listpack(struct rdb_making *m, unsigned char **lp)
{
    struct slice bytes;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &bytes);
    if (end != RDB_DONE)
        return end;
    if (!listpack_valid((const unsigned char *)bytes.data, bytes.size))
        return rdb_corrupt(m->r, "malformed listpack");
    *lp = copy_of(bytes);
    return RDB_DONE;
}

static enum rdb_end read_ziplist(struct rdb_making *m, unsigned char **lp)
{
    struct slice bytes;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &bytes);
    if (end != RDB_DONE)
        return end;
    *lp = rdb_unpack_ziplist(bytes);
    return *lp ? RDB_DONE : rdb_corrupt(m->r, "malformed ziplist");
}

static enum rdb_end read_packed(struct rdb_making *m, bool old,
                                enum rdb_end take(struct rdb_making *, unsigned char *))
{
    unsigned char *lp = NULL;
    enum rdb_end end = old ? read_ziplist(m, &lp) : read_listpack(m, &lp);
    return end == RDB_DONE ? take(m, lp) : end;
}

/* --- Strings, sets, sorted sets --- */

/* What lies in the input as it is stays there. */
static enum rdb_end read_string(struct rdb_making *m)
{
    struct slice s;
    struct buf *own = &m->v->string;
    enum rdb_end end = rdb_read_string(m->r, own, &s);
    if (end == RDB_DONE && s.data != own->data) {
        buf_init_borrowed(own, (char *)s.data, s.size);
        own->size = s.size;
    }
    return end;
}

/* The number of elements that follow: not more than there are bytes for. */
static enum rdb_end read_count(struct rdb_making *m, uint64_t *count)
{
    enum rdb_end end = rdb_read_length(m->r, count);
    if (end != RDB_DONE)
        return end;
    if (*count == 0)
        return RDB_EMPTY;
    return *count > (size_t)(m->r->end - m->r->at) ? RDB_MORE : RDB_DONE;
}

/* Few enough members to be packed are gathered first: each would be sought among those before it
 * when added to a listpack. *fits: the listpack is what the set becomes. */
static enum rdb_end gather_members(struct rdb_making *m, uint64_t count, unsigned char **lp,
                                   bool *fits)
{
    size_t size_max = m->o->keyspace->options.set_max_listpack_value;
    size_t left = (size_t)(m->r->end - m->r->at);
    bool integers = count <= m->o->keyspace->options.set_max_intset_entries, large = false;
    enum rdb_end end = RDB_DONE;
    *lp = listpack_create(left < count * MEMBER_SIZE_USUAL ? left : count * MEMBER_SIZE_USUAL);
    for (uint64_t i = 0; end == RDB_DONE && !large && i < count; i++) {
        struct slice member;
        int64_t integer;
        end = rdb_read_string(m->r, &m->scratch[0], &member);
        if (end != RDB_DONE)
            break;
        large = member.size > size_max || !listpack_has_room(*lp, member.size);
        integers = integers && number_parse_integer(member, &integer);
        if (!large)
            listpack_append(lp, member);
    }
    *fits = !large && !integers;
    return end;
}

/* The set becomes a listpack. RDB_EMPTY, the reader being where it was, where it does not fit. */
static enum rdb_end read_packed_set(struct rdb_making *m, uint64_t count)
{
    const char *start = m->r->at;
    unsigned char *lp;
    bool fits;
    enum rdb_end end = gather_members(m, count, &lp, &fits);
    if (end == RDB_DONE && fits)
        return rdb_take_set(m, mem_realloc(lp, listpack_size(lp)));
    mem_free(lp);
    if (end != RDB_DONE)
        return end;
    m->r->at = start;
    return RDB_EMPTY;
}

static enum rdb_end read_set(struct rdb_making *m)
{
    uint64_t count;
    struct slice member;
    enum rdb_end end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    if (count <= m->o->keyspace->options.set_max_listpack_entries) {
        end = read_packed_set(m, count);
        if (end != RDB_EMPTY)
            return end;
        end = RDB_DONE;
    }
    rdb_begin(m, TYPE_SET);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++) {
        end = rdb_read_string(m->r, &m->scratch[0], &member);
        if (end == RDB_DONE && i == 0)
            set_expect(&m->v->value, m->o->keyspace, member, count);
        if (end == RDB_DONE)
            end = rdb_add_member(m, member);
    }
    return end;
}

static enum rdb_end read_intset(struct rdb_making *m)
{
    const struct keyspace *k = m->o->keyspace;
    struct slice bytes;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &bytes);
    if (end != RDB_DONE)
        return end;
    if (!intset_valid(bytes.data, bytes.size))
        return rdb_corrupt(m->r, "malformed intset");
    struct intset *s = copy_of(bytes);
    uint32_t count = intset_count(s);
    if (count > 0 && count <= k->options.set_max_intset_entries) {
        rdb_become(m, TYPE_SET, ENC_INTSET, s);
        return RDB_DONE;
    }
    rdb_begin(m, TYPE_SET);
    set_expect(&m->v->value, k, SLICE(""), UINT64_MAX);
    for (uint32_t i = 0; end == RDB_DONE && i < count; i++) {
        char text[NUMBER_INTEGER_SIZE_MAX];
        size_t size = number_format_integer(text, intset_get(s, i));
        end = rdb_add_member(m, (struct slice){text, size});
    }
    mem_free(s);
    return count > 0 ? end : RDB_EMPTY;
}

/* A score as text, its size before it. */
static enum rdb_end read_ascii_double(struct rdb_reader *r, double *score)
{
    uint8_t size;
    enum rdb_end end = rdb_read_byte(r, &size);
    if (end != RDB_DONE)
        return end;
    if (size >= ASCII_NAN) {
        *score = size == ASCII_NAN ? NAN : size == ASCII_INFINITE ? INFINITY : -INFINITY;
        return RDB_DONE;
    }
    if (r->end - r->at < size)
        return RDB_MORE;
    if (!number_parse_double((struct slice){r->at, size}, score))
        return rdb_corrupt(r, "a score that is not a number");
    r->at += size;
    return RDB_DONE;
}

static enum rdb_end read_zset(struct rdb_making *m, bool ascii)
{
    uint64_t count, bits;
    enum rdb_end end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    rdb_begin(m, TYPE_ZSET);
    zset_reserve(&m->v->value, m->o->keyspace, count);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++) {
        struct slice member;
        double score;
        end = rdb_read_string(m->r, &m->scratch[0], &member);
        if (end == RDB_DONE && ascii)
            end = read_ascii_double(m->r, &score);
        else if (end == RDB_DONE && (end = rdb_read_u64(m->r, &bits)) == RDB_DONE)
            memcpy(&score, &bits, sizeof(score));
        if (end == RDB_DONE)
            end = rdb_add_scored(m, member, score);
    }
    return end;
}

/* --- Hashes --- */

static enum rdb_end read_pair(struct rdb_making *m, struct slice *field, struct slice *value)
{
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], field);
    return end == RDB_DONE ? rdb_read_string(m->r, &m->scratch[1], value) : end;
}

static void begin_hash(struct rdb_making *m, uint64_t count)
{
    rdb_begin(m, TYPE_HASH);
    if (count > m->o->keyspace->options.hash_max_listpack_entries)
        hash_prepare(&m->v->value, m->o->keyspace, NULL, count);
}

static enum rdb_end read_hash(struct rdb_making *m)
{
    uint64_t count;
    struct slice field, value;
    enum rdb_end end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    begin_hash(m, count);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++) {
        end = read_pair(m, &field, &value);
        if (end == RDB_DONE)
            end = rdb_add_field(m, field, value, HASH_NO_EXPIRY);
    }
    return end;
}

/* A field whose time has come is left out; `expires_ms` is 0 of one that stays. */
static enum rdb_end add_expiring(struct rdb_making *m, struct slice field, struct slice value,
                                 uint64_t expires_ms)
{
    if (expires_ms > HASH_EXPIRY_MAX)
        return rdb_corrupt(m->r, "impossible expiry of a field");
    if (expires_ms && (int64_t)expires_ms < m->o->now_ms)
        return RDB_DONE;
    return rdb_add_field(m, field, value, expires_ms ? (int64_t)expires_ms : HASH_NO_EXPIRY);
}

/* Each field with its expiry before it: as a difference to the earliest one, which stands before
 * all, and plus 1; before Redis 7.4.0 as it is. */
static enum rdb_end read_hash_fields(struct rdb_making *m, bool has_earliest)
{
    uint64_t earliest = 1, count, expires_ms;
    struct slice field, value;
    enum rdb_end end = has_earliest ? rdb_read_u64(m->r, &earliest) : RDB_DONE;
    if (end == RDB_DONE)
        end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    if (earliest > HASH_EXPIRY_MAX)
        return rdb_corrupt(m->r, "impossible expiry of a field");
    begin_hash(m, count);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++) {
        end = rdb_read_length(m->r, &expires_ms);
        if (end == RDB_DONE)
            end = read_pair(m, &field, &value);
        if (end == RDB_DONE && expires_ms > HASH_EXPIRY_MAX)
            end = rdb_corrupt(m->r, "impossible expiry of a field");
        if (end == RDB_DONE)
            end = add_expiring(m, field, value, expires_ms ? expires_ms + earliest - 1 : 0);
    }
    return end;
}

static enum rdb_end add_expiring_fields(struct rdb_making *m, const unsigned char *lp)
{
    enum rdb_end end = RDB_DONE;
    char scratch[2][NUMBER_INTEGER_SIZE_MAX];
    begin_hash(m, listpack_count(lp) / 3);
    for (uint32_t at = listpack_first(lp); end == RDB_DONE && at != LISTPACK_NONE;) {
        uint32_t value_at = listpack_next(lp, at), expiry_at = listpack_next(lp, value_at);
        int64_t expires_ms;
        if (!listpack_integer(lp, expiry_at, &expires_ms) || expires_ms < 0)
            return rdb_corrupt(m->r, "impossible expiry of a field");
        end = add_expiring(m, listpack_text(lp, at, scratch[0]),
                           listpack_text(lp, value_at, scratch[1]), (uint64_t)expires_ms);
        at = listpack_next(lp, expiry_at);
    }
    return end;
}

static enum rdb_end read_hash_listpack_ex(struct rdb_making *m, bool has_earliest)
{
    uint64_t earliest;
    unsigned char *lp = NULL;
    enum rdb_end end = has_earliest ? rdb_read_u64(m->r, &earliest) : RDB_DONE;
    if (end == RDB_DONE)
        end = read_listpack(m, &lp);
    if (end != RDB_DONE)
        return end;
    if (listpack_count(lp) % 3)
        end = rdb_corrupt(m->r, "a field without value or expiry in a packed hash");
    else
        end = add_expiring_fields(m, lp);
    mem_free(lp);
    return end;
}

/* --- Lists --- */

static enum rdb_end read_list(struct rdb_making *m)
{
    uint64_t count;
    struct slice element;
    enum rdb_end end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    rdb_begin(m, TYPE_LIST);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++) {
        end = rdb_read_string(m->r, &m->scratch[0], &element);
        if (end == RDB_DONE)
            list_push(&m->v->value, &m->o->keyspace->options, LIST_TAIL, &element, 1);
    }
    return end;
}

static enum rdb_end read_list_ziplist(struct rdb_making *m)
{
    unsigned char *lp = NULL;
    enum rdb_end end = read_ziplist(m, &lp);
    if (end == RDB_DONE) {
        rdb_begin(m, TYPE_LIST);
        rdb_take_list_node(m, lp);
    }
    return end;
}

static enum rdb_end read_plain_node(struct rdb_making *m)
{
    struct slice element;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &element);
    if (end != RDB_DONE)
        return end;
    if (element.size == 0)
        return rdb_corrupt(m->r, "an empty plain node of a list");
    list_append_plain(&m->v->value, &m->o->keyspace->options, element);
    return RDB_DONE;
}

static enum rdb_end read_node(struct rdb_making *m, bool old)
{
    unsigned char *lp = NULL;
    uint64_t container = NODE_PACKED;
    enum rdb_end end = old ? RDB_DONE : rdb_read_length(m->r, &container);
    if (end != RDB_DONE)
        return end;
    if (container == NODE_PLAIN)
        return read_plain_node(m);
    if (container != NODE_PACKED)
        return rdb_corrupt(m->r, "unknown kind of a list's node");
    end = old ? read_ziplist(m, &lp) : read_listpack(m, &lp);
    if (end == RDB_DONE)
        rdb_take_list_node(m, lp);
    return end;
}

static enum rdb_end read_quicklist(struct rdb_making *m, bool old)
{
    uint64_t count;
    enum rdb_end end = read_count(m, &count);
    if (end != RDB_DONE)
        return end;
    rdb_begin(m, TYPE_LIST);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++)
        end = read_node(m, old);
    return end;
}

/* --- All types --- */

static enum rdb_end read_as(struct rdb_making *m, uint8_t type)
{
    switch (type) {
    case RDB_STRING:
        return read_string(m);
    case RDB_LIST:
        return read_list(m);
    case RDB_SET:
        return read_set(m);
    case RDB_ZSET:
    case RDB_ZSET_2:
        return read_zset(m, type == RDB_ZSET);
    case RDB_HASH:
        return read_hash(m);
    case RDB_HASH_ZIPMAP:
        return rdb_read_zipmap(m);
    case RDB_LIST_ZIPLIST:
        return read_list_ziplist(m);
    case RDB_SET_INTSET:
        return read_intset(m);
    case RDB_SET_LISTPACK:
        return read_packed(m, false, rdb_take_set);
    case RDB_ZSET_ZIPLIST:
    case RDB_ZSET_LISTPACK:
        return read_packed(m, type == RDB_ZSET_ZIPLIST, rdb_take_zset);
    case RDB_HASH_ZIPLIST:
    case RDB_HASH_LISTPACK:
        return read_packed(m, type == RDB_HASH_ZIPLIST, rdb_take_hash);
    case RDB_HASH_FIELDS:
    case RDB_HASH_FIELDS_PRE:
        return read_hash_fields(m, type == RDB_HASH_FIELDS);
    case RDB_HASH_LISTPACK_EX:
    case RDB_HASH_LISTPACK_EX_PRE:
        return read_hash_listpack_ex(m, type == RDB_HASH_LISTPACK_EX);
    case RDB_LIST_QUICKLIST:
    case RDB_LIST_QUICKLIST_2:
        return read_quicklist(m, type == RDB_LIST_QUICKLIST);
    case RDB_STREAM:
    case RDB_STREAM_2:
    case RDB_STREAM_3:
        return rdb_read_stream(m, type);
    case RDB_MODULE:
    case RDB_MODULE_2:
        return rdb_corrupt(m->r, "a value of a module, of which there are none here");
    default:
        return rdb_corrupt(m->r, "unknown type of a value");
    }
}

enum rdb_end rdb_read_value(struct rdb_reader *r, uint8_t type, const struct rdb_options *o,
                            struct rdb_value *v)
{
    char stack[2][SCRATCH_SIZE];
    struct rdb_making m = {.r = r, .o = o, .v = v};
    *v = (struct rdb_value){.type = TYPE_STRING};
    for (int i = 0; i < 2; i++)
        buf_init_borrowed(&m.scratch[i], stack[i], sizeof(stack[i]));
    enum rdb_end end = read_as(&m, type);
    for (int i = 0; i < 2; i++)
        buf_deinit(&m.scratch[i]);
    if (end == RDB_DONE && v->type != TYPE_STRING && v->type != TYPE_STREAM &&
        value_count(&v->value) == 0)
        end = RDB_EMPTY;
    if (end != RDB_DONE)
        rdb_value_deinit(v);
    return end;
}
