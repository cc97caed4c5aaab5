/* Unions, intersections and differences of sorted sets, and of sets, whose members count as having
 * the score 1: ZDIFF, ZDIFFSTORE, ZINTER, ZINTERCARD, ZINTERSTORE, ZUNION, ZUNIONSTORE.
 *
 * The members of the result are first gathered in no order, then sorted once, then replied or kept.
 * A union and a large difference look up what they gathered by a hash table; an intersection goes
 * through the smallest source and looks its members up in the others. The sources change nowhere,
 * so that the destination may be one of them. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/cmd/zset_result.h"
#include "shard/type/set.h"

enum operation { OP_UNION, OP_INTER, OP_DIFF };
enum aggregate { AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX };

struct source {
    struct value v; /* a set or a sorted set */
    double weight;
    uint64_t count;
    uint32_t nth;   /* as the client named them */
};

struct request {
    enum operation operation;
    enum aggregate aggregate;
    bool with_scores;
    bool stores;
    bool counts;    /* ZINTERCARD */
    uint64_t limit; /* ... stops here; 0: nowhere */
    struct source *sources;
    uint32_t source_count;
    uint32_t at;    /* the arg that is their number */
};

/* --- Sources --- */

/* A walk over the members of either type, with their scores. */
struct walk {
    const struct source *source;
    union {
        struct zset_walk zset;
        struct set_walk set;
    } w;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
};

static void walk_start(struct walk *w, const struct source *s)
{
    w->source = s;
    if (!s->count)
        return;
    if (s->v.type == TYPE_ZSET)
        zset_walk_start(&w->w.zset, &s->v, 0, false);
    else
        set_walk_start(&w->w.set, &s->v);
}

/* The member is good until the next call. */
static bool walk_next(struct walk *w, struct slice *member, double *score)
{
    if (!w->source->count)
        return false;
    if (w->source->v.type == TYPE_ZSET)
        return zset_walk_next(&w->w.zset, member, score);
    struct set_member m;
    if (!set_walk_next(&w->w.set, &m))
        return false;
    *member = set_member_text(&m, w->scratch);
    *score = 1;
    return true;
}

static bool source_find(const struct source *s, const struct keyspace *k, struct slice member,
                        double *score)
{
    if (!s->count)
        return false;
    if (s->v.type == TYPE_ZSET)
        return zset_score(&s->v, k, member, score);
    *score = 1;
    return set_has(&s->v, k, member);
}

/* The smaller first; those of one size as they were named, for sums depend on the order. */
static int compare_sources(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->nth < y->nth ? -1 : 1;
}

/* --- Scores --- */

/* Infinities of both signs, and an infinity times 0, make 0. */
static double no_nan(double score)
{
    return isnan(score) ? 0 : score;
}

static double combine(enum aggregate aggregate, double a, double b)
{
    switch (aggregate) {
    case AGGREGATE_SUM:
        return no_nan(a + b);
    case AGGREGATE_MIN:
        return b < a ? b : a;
    default:
        return b > a ? b : a;
    }
}

/* --- The result --- */

struct item {
    double score;
    struct slice member; /* its data is set when all are gathered: until then, */
    size_t offset;       /* where in `text` it is */
    uint32_t hash;       /* by which it is looked up */
    bool removed;
};

#define FREE_SLOT UINT32_MAX

struct gathering {
    const struct keyspace *keyspace;
    struct buf text;   /* the members */
    struct item *items;
    uint32_t count, cap;
    uint32_t *slots;   /* indexes of items by hash, with linear probing; NULL: no look-ups */
    uint32_t slot_mask;
};

static void gathering_init(struct gathering *g, const struct keyspace *k)
{
    *g = (struct gathering){.keyspace = k};
    buf_init(&g->text);
}

static void gathering_deinit(struct gathering *g)
{
    buf_deinit(&g->text);
    mem_free(g->items);
    mem_free(g->slots);
}

static void add_item(struct gathering *g, struct slice member, double score, uint32_t hash)
{
    if (g->count == g->cap) {
        assert(g->cap < FREE_SLOT / 2);
        g->cap = g->cap ? 2 * g->cap : 16;
        g->items = mem_realloc(g->items, g->cap * sizeof(*g->items));
    }
    g->items[g->count++] = (struct item){
        .score = score, .member = {NULL, member.size}, .offset = g->text.size, .hash = hash};
    buf_append_slice(&g->text, member);
}

/* Makes room in the look-up for `count` items, at most half full. */
static void resize_slots(struct gathering *g, uint64_t count)
{
    uint32_t size = 16;
    while (size < 2 * count && size < UINT32_MAX / 2)
        size *= 2;
    mem_free(g->slots);
    g->slots = mem_alloc(size * sizeof(*g->slots));
    g->slot_mask = size - 1;
    memset(g->slots, 0xff, size * sizeof(*g->slots));
    for (uint32_t i = 0; i < g->count; i++) {
        uint32_t at = g->items[i].hash & g->slot_mask;
        while (g->slots[at] != FREE_SLOT)
            at = (at + 1) & g->slot_mask;
        g->slots[at] = i;
    }
}

/* The slot of the item of that member, or the free one where it belongs. */
static uint32_t *find_slot(struct gathering *g, struct slice member, uint32_t hash)
{
    uint32_t at = hash & g->slot_mask;
    for (; g->slots[at] != FREE_SLOT; at = (at + 1) & g->slot_mask) {
        const struct item *item = &g->items[g->slots[at]];
        struct slice held = {g->text.data + item->offset, item->member.size};
        if (item->hash == hash && slice_equal(held, member))
            break;
    }
    return &g->slots[at];
}

static void gather(struct gathering *g, struct slice member, double score,
                   enum aggregate aggregate)
{
    uint32_t hash = (uint32_t)keyspace_hash(g->keyspace, member);
    uint32_t *slot = find_slot(g, member, hash);
    if (*slot != FREE_SLOT) {
        struct item *item = &g->items[*slot];
        item->score = combine(aggregate, item->score, score);
        return;
    }
    *slot = g->count;
    add_item(g, member, score, hash);
    if (g->count > g->slot_mask / 2)
        resize_slots(g, 2 * (uint64_t)g->count);
}

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    size_t shared = x->member.size < y->member.size ? x->member.size : y->member.size;
    int order = shared ? memcmp(x->member.data, y->member.data, shared) : 0;
    if (order)
        return order;
    return x->member.size < y->member.size ? -1 : x->member.size > y->member.size;
}

/* Drops what was removed and brings the rest into a sorted set's order. */
static void gathering_finish(struct gathering *g)
{
    uint32_t kept = 0;
    bool sorted = true;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->items[i].removed)
            continue;
        struct item *item = &g->items[kept++];
        *item = g->items[i];
        item->member.data = g->text.data + item->offset;
        if (sorted && kept > 1)
            sorted = compare_items(item - 1, item) <= 0;
    }
    g->count = kept;
    if (!sorted)
        qsort(g->items, g->count, sizeof(*g->items), compare_items);
}

/* --- The operations --- */

static void make_union(struct gathering *g, const struct request *q)
{
    qsort(q->sources, q->source_count, sizeof(*q->sources), compare_sources);
    resize_slots(g, q->sources[q->source_count - 1].count);
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct walk w;
        struct slice member;
        double score;
        walk_start(&w, &q->sources[i]);
        while (walk_next(&w, &member, &score))
            gather(g, member, no_nan(q->sources[i].weight * score), q->aggregate);
    }
}

/* Combines a member's score with those that it has in all other sources; false where one lacks it.
 */
static bool combine_all(const struct gathering *g, const struct request *q, struct slice member,
                        double *score)
{
    for (uint32_t i = 1; i < q->source_count; i++) {
        double other;
        if (!source_find(&q->sources[i], g->keyspace, member, &other))
            return false;
        *score = combine(q->aggregate, *score, other * q->sources[i].weight);
    }
    return true;
}

/* Returns how many members there are, up to the limit; with `counts` it gathers none of them. */
static uint64_t make_intersection(struct gathering *g, const struct request *q)
{
    qsort(q->sources, q->source_count, sizeof(*q->sources), compare_sources);
    struct walk w;
    struct slice member;
    double score;
    uint64_t count = 0;
    walk_start(&w, &q->sources[0]);
    while (walk_next(&w, &member, &score)) {
        score = no_nan(score * q->sources[0].weight);
        if (!combine_all(g, q, member, &score))
            continue;
        count++;
        if (!q->counts)
            add_item(g, member, score, 0);
        else if (count == q->limit)
            break;
    }
    return count;
}

/* Goes through the first source and leaves out what another has. */
static void subtract_by_look_up(struct gathering *g, const struct request *q)
{
    struct walk w;
    struct slice member;
    double score, other;
    walk_start(&w, &q->sources[0]);
    while (walk_next(&w, &member, &score)) {
        uint32_t i = 1;
        while (i < q->source_count && !source_find(&q->sources[i], g->keyspace, member, &other))
            i++;
        if (i == q->source_count)
            add_item(g, member, score, 0);
    }
}

/* Gathers the first source and goes through the others, striking out what they have. */
static void subtract_by_walk(struct gathering *g, const struct request *q)
{
    struct walk w;
    struct slice member;
    double score;
    resize_slots(g, q->sources[0].count);
    walk_start(&w, &q->sources[0]);
    while (walk_next(&w, &member, &score))
        gather(g, member, score, AGGREGATE_MAX);
    uint64_t left = g->count;
    for (uint32_t i = 1; i < q->source_count; i++) {
        walk_start(&w, &q->sources[i]);
        while (left && walk_next(&w, &member, &score)) {
            uint32_t slot = *find_slot(g, member, (uint32_t)keyspace_hash(g->keyspace, member));
            if (slot == FREE_SLOT || g->items[slot].removed)
                continue;
            g->items[slot].removed = true;
            left--;
        }
    }
}

static void make_difference(struct gathering *g, const struct request *q)
{
    uint64_t others = 0;
    for (uint32_t i = 1; i < q->source_count; i++)
        others += q->sources[i].count;
    if (others < q->sources[0].count * (q->source_count - 1))
        subtract_by_walk(g, q);
    else
        subtract_by_look_up(g, q);
}

/* --- Arguments --- */

static bool read_source_count(struct call *c, struct request *q)
{
    int64_t count;
    if (!call_arg_integer(c, q->at, &count))
        return false;
    if (count < 1) {
        reply_error(&c->reply, "ERR at least 1 input key is needed for '%s' command",
                    c->command->full_name);
        return false;
    }
    if (count > (int64_t)(c->argc - q->at - 1)) {
        reply_error_syntax(&c->reply);
        return false;
    }
    q->source_count = (uint32_t)count;
    return true;
}

static bool find_sources(struct call *c, struct request *q)
{
    for (uint32_t i = 0; i < q->source_count; i++) {
        struct place p = db_find(c, q->at + 1 + i, DB_READ);
        struct source *s = &q->sources[i];
        *s = (struct source){.weight = 1, .nth = i};
        if (!p.entry)
            continue;
        enum entry_type_id type = (enum entry_type_id)entry_type(p.entry);
        if (type != TYPE_ZSET && type != TYPE_SET) {
            reply_error_wrong_type(&c->reply);
            return false;
        }
        s->v = db_value(&p, type);
        s->count = value_count(&s->v);
    }
    return true;
}

static bool read_weights(struct call *c, struct request *q, uint32_t at)
{
    for (uint32_t i = 0; i < q->source_count; i++) {
        if (!number_parse_double(c->argv[at + i], &q->sources[i].weight)) {
            reply_error(&c->reply, "ERR weight value is not a float");
            return false;
        }
    }
    return true;
}

static bool read_aggregate(struct call *c, struct request *q, uint32_t at)
{
    static const char *const words[] = {"sum", "min", "max"};
    for (uint32_t i = 0; i < 3; i++) {
        if (call_arg_is(c, at, words[i])) {
            q->aggregate = (enum aggregate)i;
            return true;
        }
    }
    reply_error_syntax(&c->reply);
    return false;
}

static bool read_limit(struct call *c, struct request *q, uint32_t at)
{
    int64_t limit;
    if (number_parse_integer(c->argv[at], &limit) && limit >= 0) {
        q->limit = (uint64_t)limit;
        return true;
    }
    reply_error(&c->reply, "ERR LIMIT can't be negative");
    return false;
}

static bool read_options(struct call *c, struct request *q)
{
    bool weighs = q->operation != OP_DIFF && !q->counts;
    for (uint32_t i = q->at + 1 + q->source_count; i < c->argc; i++) {
        uint32_t left = c->argc - i - 1;
        if (weighs && left >= q->source_count && call_arg_is(c, i, "weights")) {
            if (!read_weights(c, q, i + 1))
                return false;
            i += q->source_count;
        } else if (weighs && left && call_arg_is(c, i, "aggregate")) {
            if (!read_aggregate(c, q, ++i))
                return false;
        } else if (!q->stores && !q->counts && call_arg_is(c, i, "withscores")) {
            q->with_scores = true;
        } else if (q->counts && left && call_arg_is(c, i, "limit")) {
            if (!read_limit(c, q, ++i))
                return false;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    return true;
}

/* --- Commands --- */

static void reply_items(struct call *c, const struct gathering *g, bool with_scores)
{
    zset_reply_open(&c->reply, g->count, with_scores);
    for (uint32_t i = 0; i < g->count; i++)
        zset_reply_member(&c->reply, g->items[i].member, g->items[i].score, with_scores);
}

static void store_items(struct call *c, const struct gathering *g, enum operation operation)
{
    static const char *const events[] = {
        [OP_UNION] = "zunionstore", [OP_INTER] = "zinterstore", [OP_DIFF] = "zdiffstore",
    };
    struct value v = zset_ops.create(c->keyspace);
    zset_reserve(&v, c->keyspace, g->count);
    for (uint32_t i = 0; i < g->count; i++)
        zset_put(&v, c->keyspace, g->items[i].member, g->items[i].score);
    zset_store(c, 1, &v, events[operation]);
}

static void answer(struct call *c, const struct request *q)
{
    struct gathering g;
    gathering_init(&g, c->keyspace);
    uint64_t count = 0;
    if (q->operation == OP_UNION)
        make_union(&g, q);
    else if (q->operation == OP_DIFF)
        make_difference(&g, q);
    else
        count = make_intersection(&g, q);
    gathering_finish(&g);

    if (q->counts)
        reply_integer(&c->reply, (int64_t)count);
    else if (q->stores)
        store_items(c, &g, q->operation);
    else
        reply_items(c, &g, q->with_scores);
    gathering_deinit(&g);
}

static void run_request(struct call *c, struct request q)
{
    q.at = q.stores ? 2 : 1;
    if (!read_source_count(c, &q))
        return;

    q.sources = mem_alloc(q.source_count * sizeof(*q.sources));
    if (find_sources(c, &q) && read_options(c, &q))
        answer(c, &q);
    mem_free(q.sources);
}

static void zunion_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_UNION});
}

static void zinter_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_INTER});
}

static void zdiff_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_DIFF});
}

static void zunionstore_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_UNION, .stores = true});
}

static void zinterstore_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_INTER, .stores = true});
}

static void zdiffstore_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_DIFF, .stores = true});
}

static void zintercard_run(struct call *c)
{
    run_request(c, (struct request){.operation = OP_INTER, .counts = true});
}

const struct command zset_algebra_commands[] = {
    {
        .name = "zdiff",
        .run = zdiff_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(L + (N-K)log(N)) worst case where L is the total number of elements in "
                      "all the sets, N is the size of the first set, and K is the size of the "
                      "result set.",
        .syntax = "numkeys key [key ...] [WITHSCORES]",
        .summary = "Returns the members of the first sorted set that are in none of the others.",
    },
    {
        .name = "zdiffstore",
        .run = zdiffstore_run,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_OW | KEY_UPDATE, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(L + (N-K)log(N)) worst case where L is the total number of elements in "
                      "all the sets, N is the size of the first set, and K is the size of the "
                      "result set.",
        .syntax = "destination numkeys key [key ...]",
        .summary = "Keeps the difference of sorted sets under a key.",
    },
    {
        .name = "zinter",
        .run = zinter_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, "
                      "K being the number of input sorted sets and M being the number of elements "
                      "in the resulting sorted set.",
        .syntax = "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | "
                  "MAX>] [WITHSCORES]",
        .summary = "Returns the intersection of sorted sets.",
    },
    {
        .name = "zintercard",
        .run = zintercard_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "7.0.0",
        .complexity = "O(N*K) worst case with N being the smallest input sorted set, K being the "
                      "number of input sorted sets.",
        .syntax = "numkeys key [key ...] [LIMIT limit]",
        .summary = "Counts the members that all of the sorted sets have.",
    },
    {
        .name = "zinterstore",
        .run = zinterstore_run,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_OW | KEY_UPDATE, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, "
                      "K being the number of input sorted sets and M being the number of elements "
                      "in the resulting sorted set.",
        .syntax = "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM "
                  "| MIN | MAX>]",
        .summary = "Keeps the intersection of sorted sets under a key.",
    },
    {
        .name = "zunion",
        .run = zunion_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted "
                      "sets, and M being the number of elements in the resulting sorted set.",
        .syntax = "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | "
                  "MAX>] [WITHSCORES]",
        .summary = "Returns the union of sorted sets.",
    },
    {
        .name = "zunionstore",
        .run = zunionstore_run,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_OW | KEY_UPDATE, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_COUNT, .first = 1,
                 .step = 1},
            },
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted "
                      "sets, and M being the number of elements in the resulting sorted set.",
        .syntax = "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM "
                  "| MIN | MAX>]",
        .summary = "Keeps the union of sorted sets under a key.",
    },
    {0},
};
