/* RDB: streams read.
 *
 *     nodes:  their count, then for each its master id (a string of 16 bytes, big-endian) and its
 *             listpack (a string)
 *     length, last id; from version 2 on first id, largest deleted id, messages ever added
 *     groups: their count, then for each its name, last id, from version 2 on how many it has read;
 *             pending messages: their count, then id (16 bytes, big-endian), time, deliveries;
 *             consumers: their count, then name, time seen, in version 3 time active, and the ids
 *             of the pending messages that are its own
 *
 * Ids but for those of 16 bytes are two lengths. The first id is not taken over but looked up: no
 * stream is made whose parts contradict each other. */
#include "proto/mem.h"
#include "shard/rdb_making.h"
#include "shard/type/listpack.h"
#include "shard/type/stream_group.h"

/* Bytes that a pending message takes at least: of a group, of a consumer. */
#define GROUP_PENDING_SIZE 25
#define CONSUMER_PENDING_SIZE 16

/* A group's pending messages as they were read, ascending, before they have consumers. */
struct pending {
    struct stream_id id;
    int64_t delivered_ms;
    uint64_t deliveries;
    bool owned;
};

struct pendings {
    struct pending *items;
    uint64_t count, owned;
};

/* --- Numbers --- */

static enum rdb_end read_id(struct rdb_reader *r, struct stream_id *id)
{
    enum rdb_end end = rdb_read_length(r, &id->ms);
    return end == RDB_DONE ? rdb_read_length(r, &id->seq) : end;
}

static enum rdb_end read_raw_id(struct rdb_reader *r, struct stream_id *id)
{
    if (r->end - r->at < STREAM_ID_KEY_SIZE)
        return RDB_MORE;
    *id = stream_id_of_key((const unsigned char *)r->at);
    r->at += STREAM_ID_KEY_SIZE;
    return RDB_DONE;
}

/* A time that is not before `min`: idle times are differences to it. */
static enum rdb_end read_time(struct rdb_reader *r, int64_t min, int64_t *ms)
{
    uint64_t bits;
    enum rdb_end end = rdb_read_u64(r, &bits);
    if (end == RDB_DONE)
        *ms = (int64_t)bits < min ? min : (int64_t)bits;
    return end;
}

/* How many things follow that take `size` bytes at least. */
static enum rdb_end read_count(struct rdb_reader *r, size_t size, uint64_t *count)
{
    enum rdb_end end = rdb_read_length(r, count);
    if (end == RDB_DONE && *count > (size_t)(r->end - r->at) / size)
        end = RDB_MORE;
    return end;
}

/* --- Messages --- */

static enum rdb_end read_node(struct rdb_making *m, struct stream *s)
{
    struct slice key, bytes;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &key);
    if (end != RDB_DONE)
        return end;
    if (key.size != STREAM_ID_KEY_SIZE)
        return rdb_corrupt(m->r, "malformed id of a stream's node");
    struct stream_id master = stream_id_of_key((const unsigned char *)key.data);
    end = rdb_read_string(m->r, &m->scratch[0], &bytes);
    if (end != RDB_DONE)
        return end;
    const unsigned char *lp = (const unsigned char *)bytes.data;
    if (!listpack_valid(lp, bytes.size) || !stream_node_valid(lp, master))
        return rdb_corrupt(m->r, "malformed node of a stream");
    if (!stream_append_node(s, master, lp))
        return rdb_corrupt(m->r, "nodes of a stream out of order");
    return RDB_DONE;
}

/* What stands behind the nodes. `s->last_id` is that of the last message until then. */
static enum rdb_end read_facts(struct rdb_making *m, struct stream *s, unsigned type)
{
    uint64_t length;
    struct stream_id last, first;
    enum rdb_end end = rdb_read_length(m->r, &length);
    if (end == RDB_DONE)
        end = read_id(m->r, &last);
    if (end == RDB_DONE && type >= RDB_STREAM_2)
        end = read_id(m->r, &first);
    if (end == RDB_DONE && type >= RDB_STREAM_2)
        end = read_id(m->r, &s->max_deleted_id);
    s->entries_added = s->length;
    if (end == RDB_DONE && type >= RDB_STREAM_2)
        end = rdb_read_length(m->r, &s->entries_added);
    if (end != RDB_DONE)
        return end;
    if (length != s->length)
        return rdb_corrupt(m->r, "a stream's length is not that of its nodes");
    if (stream_id_compare(last, s->last_id) < 0)
        return rdb_corrupt(m->r, "a stream's last id is below its last message's");
    if (s->entries_added > INT64_MAX)
        return rdb_corrupt(m->r, "impossible count of a stream's messages");
    s->last_id = last;
    return RDB_DONE;
}

/* --- Groups --- */

static enum rdb_end read_pending(struct rdb_reader *r, struct pendings *p)
{
    struct pending *item = &p->items[p->count];
    enum rdb_end end = read_raw_id(r, &item->id);
    if (end == RDB_DONE)
        end = read_time(r, 0, &item->delivered_ms);
    if (end == RDB_DONE)
        end = rdb_read_length(r, &item->deliveries);
    if (end != RDB_DONE)
        return end;
    if (p->count > 0 && stream_id_compare(item[-1].id, item->id) >= 0)
        return rdb_corrupt(r, "pending messages of a group out of order");
    item->owned = false;
    p->count++;
    return RDB_DONE;
}

static enum rdb_end read_pendings(struct rdb_reader *r, struct pendings *p)
{
    uint64_t count;
    enum rdb_end end = read_count(r, GROUP_PENDING_SIZE, &count);
    *p = (struct pendings){0};
    if (end != RDB_DONE || count == 0)
        return end;
    p->items = mem_alloc(count * sizeof(*p->items));
    while (end == RDB_DONE && p->count < count)
        end = read_pending(r, p);
    return end;
}

static struct pending *find_pending(const struct pendings *p, struct stream_id id)
{
    uint64_t first = 0, end = p->count;
    while (first < end) {
        uint64_t middle = first + (end - first) / 2;
        int order = stream_id_compare(p->items[middle].id, id);
        if (order == 0)
            return &p->items[middle];
        if (order < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

static enum rdb_end read_owned(struct rdb_reader *r, struct stream_group *g,
                               struct stream_consumer *c, struct pendings *p)
{
    struct stream_id id;
    enum rdb_end end = read_raw_id(r, &id);
    if (end != RDB_DONE)
        return end;
    struct pending *item = find_pending(p, id);
    if (!item || item->owned)
        return rdb_corrupt(r, item ? "a message is pending for two consumers"
                                   : "a consumer's pending message is not its group's");
    item->owned = true;
    p->owned++;
    stream_pel_deliver(g, c, id, item->delivered_ms)->deliveries = item->deliveries;
    return RDB_DONE;
}

static enum rdb_end read_consumer(struct rdb_making *m, struct stream_group *g,
                                  struct pendings *p, unsigned type)
{
    struct slice name;
    int64_t seen_ms;
    uint64_t count;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &name);
    if (end == RDB_DONE)
        end = read_time(m->r, 0, &seen_ms);
    if (end != RDB_DONE)
        return end;
    struct stream_consumer *c = stream_consumer_create(g, name, seen_ms);
    if (!c)
        return rdb_corrupt(m->r, "a consumer twice in a group");
    c->active_ms = seen_ms;
    if (type >= RDB_STREAM_3)
        end = read_time(m->r, STREAM_UNKNOWN, &c->active_ms);
    if (end == RDB_DONE)
        end = read_count(m->r, CONSUMER_PENDING_SIZE, &count);
    for (uint64_t i = 0; end == RDB_DONE && i < count; i++)
        end = read_owned(m->r, g, c, p);
    return end;
}

static enum rdb_end read_members(struct rdb_making *m, struct stream_group *g, unsigned type)
{
    struct pendings p;
    uint64_t consumers;
    enum rdb_end end = read_pendings(m->r, &p);
    if (end == RDB_DONE)
        end = read_count(m->r, 1, &consumers);
    for (uint64_t i = 0; end == RDB_DONE && i < consumers; i++)
        end = read_consumer(m, g, &p, type);
    if (end == RDB_DONE && p.owned != p.count)
        end = rdb_corrupt(m->r, "a pending message without a consumer");
    mem_free(p.items);
    return end;
}

static enum rdb_end read_group(struct rdb_making *m, struct stream *s, unsigned type)
{
    struct slice name;
    struct stream_id last;
    uint64_t read;
    enum rdb_end end = rdb_read_string(m->r, &m->scratch[0], &name);
    if (end == RDB_DONE)
        end = read_id(m->r, &last);
    if (end == RDB_DONE && type >= RDB_STREAM_2)
        end = rdb_read_length(m->r, &read);
    if (end != RDB_DONE)
        return end;
    if (type < RDB_STREAM_2)
        read = (uint64_t)stream_entries_until(s, last);
    if ((int64_t)read < STREAM_UNKNOWN)
        return rdb_corrupt(m->r, "impossible count of messages that a group has read");
    struct stream_group *g = stream_group_create(s, name, last, (int64_t)read);
    return g ? read_members(m, g, type) : rdb_corrupt(m->r, "a group twice in a stream");
}

enum rdb_end rdb_read_stream(struct rdb_making *m, unsigned type)
{
    uint64_t nodes, groups;
    rdb_begin(m, TYPE_STREAM);
    struct stream *s = stream_of(&m->v->value);
    enum rdb_end end = read_count(m->r, 2, &nodes);
    for (uint64_t i = 0; end == RDB_DONE && i < nodes; i++)
        end = read_node(m, s);
    if (end == RDB_DONE)
        end = read_facts(m, s, type);
    if (end == RDB_DONE)
        end = read_count(m->r, 1, &groups);
    for (uint64_t i = 0; end == RDB_DONE && i < groups; i++)
        end = read_group(m, s, type);
    return end;
}
