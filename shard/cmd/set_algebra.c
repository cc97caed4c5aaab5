/* Set algebra: SINTER SINTERCARD SUNION SDIFF, and SINTERSTORE SUNIONSTORE SDIFFSTORE.
 *
 * The sources are the values of the keys, an absent key being an empty set; they stay as they are
 * until the outcome is complete, so that a source may be the destination too. Members come one by
 * one from a walk: each goes to the reply, or into a new set where it is to be stored or where it
 * is not certain yet that it will stay. */
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/cmd/set_cmd.h"
#include "shard/type/set_index.h"

/* ---- Sources ---- */

struct sources {
    struct value *sets;        /* owned; the values are the keys' */
    struct set_index *indexes; /* of the sets, once those are in their order */
    uint32_t count;
    const struct keyspace *keyspace;
};

/* Finds the keys that are `count` arguments from `first` on; false, having replied, where one is no
 * set, and then there is nothing to free. A set that was found stays while others are looked up:
 * that may remove expired keys, but never one that was alive. */
static bool sources_find(struct sources *s, struct call *c, uint32_t first, uint32_t count)
{
    *s = (struct sources){.count = count, .keyspace = c->keyspace};
    s->sets = mem_alloc(count * sizeof(*s->sets));
    for (uint32_t i = 0; i < count; i++) {
        struct place p;
        if (!db_find_type(c, first + i, DB_READ, TYPE_SET, &p)) {
            mem_free(s->sets);
            return false;
        }
        s->sets[i] = p.entry ? db_value(&p, TYPE_SET) : set_ops.create(c->keyspace);
    }
    return true;
}

static void sources_free(struct sources *s)
{
    for (uint32_t i = 0; s->indexes && i < s->count; i++)
        set_index_end(&s->indexes[i]);
    mem_free(s->indexes);
    mem_free(s->sets);
}

/* Sorts the sets from `first` on, and makes all ready to be asked. */
static void sources_sort(struct sources *s, uint32_t first,
                         int (*compare)(const void *a, const void *b))
{
    qsort(s->sets + first, s->count - first, sizeof(*s->sets), compare);
    s->indexes = mem_alloc(s->count * sizeof(*s->indexes));
    for (uint32_t i = 0; i < s->count; i++)
        set_index_start(&s->indexes[i], &s->sets[i]);
}

static bool source_has(struct sources *s, uint32_t i, const struct set_member *m)
{
    return set_index_has(&s->indexes[i], s->keyspace, m);
}

/* The same key given twice. */
static bool same_set(const struct value *a, const struct value *b)
{
    return a->data && a->data == b->data;
}

static int compare_counts(const void *a, const void *b)
{
    uint64_t x = set_count(a), y = set_count(b);
    return (x > y) - (x < y);
}

static int compare_counts_reverse(const void *a, const void *b)
{
    return compare_counts(b, a);
}

/* ---- Outcomes ---- */

/* What becomes of the members: with `store` they go into `set`; else to the reply, which begins
 * with their number and so waits in `buf`. */
struct outcome {
    const struct keyspace *keyspace;
    const char *store; /* the event of storing, or NULL */
    struct value set; /* also of members that it was not yet known whether they stay */
    struct buf buf;
    struct reply elements;
    size_t element_count;
};

static void outcome_start(struct outcome *o, const struct call *c, const char *store)
{
    *o = (struct outcome){
        .keyspace = c->keyspace, .store = store, .set = set_ops.create(c->keyspace),
    };
    buf_init(&o->buf);
    o->elements = (struct reply){.out = &o->buf, .protocol = c->reply.protocol};
}

/* Adds a member that no other call adds. */
static void outcome_add(struct outcome *o, const struct set_member *m)
{
    if (o->store) {
        set_add_member(&o->set, o->keyspace, m);
    } else {
        set_reply_member(&o->elements, m);
        o->element_count++;
    }
}

/* The destination, argument 1, gets the set, or goes where that is empty. */
static void outcome_store(struct outcome *o, struct call *c)
{
    uint64_t count = set_count(&o->set);
    struct place p = db_find(c, 1, DB_WRITE);
    if (count) {
        db_put_value(&p, o->set, DB_NO_EXPIRY);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_SET, o->store);
    } else {
        value_free(&o->set);
        if (p.entry) {
            db_delete(&p);
            db_changed(c, &p);
            db_notify(&p, NOTIFY_GENERIC, "del");
        }
    }

    reply_integer(&c->reply, (int64_t)count);
}

static void outcome_end(struct outcome *o, struct call *c)
{
    if (o->store) {
        outcome_store(o, c);
    } else {
        reply_set(&c->reply, o->element_count + set_count(&o->set));
        buf_append_slice(c->reply.out, buf_slice(&o->buf));
        set_reply_members(&c->reply, &o->set);
        value_free(&o->set);
    }
    buf_deinit(&o->buf);
}

/* ---- Intersection ---- */

/* Calls `visit` (unless NULL) for the members that all sources have, until `limit` (0: none) are
 * found; returns how many. Sorts the sources: the smallest is walked, and the others are asked from
 * the next smallest on, which is the likeliest not to have a member. */
static uint64_t intersect(struct sources *s, uint64_t limit,
                          void (*visit)(struct outcome *o, const struct set_member *m),
                          struct outcome *o)
{
    sources_sort(s, 0, compare_counts);
    struct set_walk w;
    struct set_member m;
    uint64_t found = 0;
    set_walk_start(&w, &s->sets[0]);
    while (set_walk_next(&w, &m)) {
        uint32_t i = 1;
        while (i < s->count &&
               (same_set(&s->sets[i], &s->sets[0]) || source_has(s, i, &m)))
            i++;
        if (i < s->count)
            continue;
        if (visit)
            visit(o, &m);
        if (++found == limit)
            break;
    }
    return found;
}

static void inter(struct call *c, uint32_t first, const char *store)
{
    struct sources s;
    if (!sources_find(&s, c, first, c->argc - first))
        return;
    struct outcome o;
    outcome_start(&o, c, store);
    intersect(&s, 0, outcome_add, &o);
    sources_free(&s);

    outcome_end(&o, c);
}

static void sinter_run(struct call *c)
{
    inter(c, 1, NULL);
}

static void sinterstore_run(struct call *c)
{
    inter(c, 2, "sinterstore");
}

static bool read_sintercard(struct call *c, uint32_t *count, uint64_t *limit)
{
    int64_t value;
    if (!number_parse_integer(c->argv[1], &value) || value < 1) {
        reply_error(&c->reply, "ERR numkeys should be greater than 0");
        return false;
    }
    if (value > (int64_t)c->argc - 2) {
        reply_error(&c->reply, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    *count = (uint32_t)value;
    *limit = 0;
    for (uint32_t i = 2 + *count; i < c->argc; i += 2) {
        if (!call_arg_is(c, i, "limit") || i + 1 == c->argc) {
            reply_error_syntax(&c->reply);
            return false;
        }
        if (!number_parse_integer(c->argv[i + 1], &value) || value < 0) {
            reply_error(&c->reply, "ERR LIMIT can't be negative");
            return false;
        }
        *limit = (uint64_t)value;
    }
    return true;
}

static void sintercard_run(struct call *c)
{
    uint32_t count;
    uint64_t limit;
    struct sources s;
    if (!read_sintercard(c, &count, &limit) || !sources_find(&s, c, 2, count))
        return;
    uint64_t found = intersect(&s, limit, NULL, NULL);
    sources_free(&s);

    reply_integer(&c->reply, (int64_t)found);
}

/* ---- Union ---- */

static void add_all(struct outcome *o, const struct value *set)
{
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, set);
    while (set_walk_next(&w, &m))
        set_add_member(&o->set, o->keyspace, &m);
}

/* With one source only there is nothing that a member could be twice in. */
static void reply_all(struct outcome *o, const struct value *set)
{
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, set);
    while (set_walk_next(&w, &m))
        outcome_add(o, &m);
}

/* What is not stored may as well begin in an encoding for all that could come. Intsets are united
 * by moving integers up: that is quick in an intset. */
static void expect_all(struct outcome *o, const struct sources *s)
{
    uint64_t total = 0;
    bool intsets = true;
    for (uint32_t i = 0; i < s->count; i++) {
        total += set_count(&s->sets[i]);
        intsets = intsets && s->sets[i].encoding == ENC_INTSET;
    }
    if (intsets)
        return;
    struct set_walk w;
    struct set_member m;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    set_walk_start(&w, &s->sets[0]);
    if (set_walk_next(&w, &m))
        set_expect(&o->set, o->keyspace, set_member_text(&m, scratch), total);
}

static void unite(struct call *c, uint32_t first, const char *store)
{
    struct sources s;
    if (!sources_find(&s, c, first, c->argc - first))
        return;
    struct outcome o;
    outcome_start(&o, c, store);
    if (s.count == 1)
        reply_all(&o, &s.sets[0]);
    else if (!store)
        expect_all(&o, &s);
    for (uint32_t i = 0; i < s.count && s.count > 1; i++)
        add_all(&o, &s.sets[i]);
    sources_free(&s);

    outcome_end(&o, c);
}

static void sunion_run(struct call *c)
{
    unite(c, 1, NULL);
}

static void sunionstore_run(struct call *c)
{
    unite(c, 2, "sunionstore");
}

/* ---- Difference ---- */

/* Asks the other sources, the largest first, for each member of the first. */
static void subtract_by_asking(struct sources *s, struct outcome *o)
{
    sources_sort(s, 1, compare_counts_reverse);
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, &s->sets[0]);
    while (set_walk_next(&w, &m)) {
        uint32_t i = 1;
        while (i < s->count && !source_has(s, i, &m))
            i++;
        if (i == s->count)
            outcome_add(o, &m);
    }
}

/* Takes the members of all others out of a copy of the first. */
static void subtract_by_removing(struct sources *s, struct outcome *o)
{
    add_all(o, &s->sets[0]);
    for (uint32_t i = 1; i < s->count; i++) {
        struct set_walk w;
        struct set_member m;
        set_walk_start(&w, &s->sets[i]);
        while (set_count(&o->set) > 0 && set_walk_next(&w, &m))
            set_remove_member(&o->set, s->keyspace, &m);
    }
}

/* Asking takes a look-up for each member of the first set in each other, removing one for each
 * member of any, and twice that to copy the first. Asking often stops early. */
static bool asking_is_cheaper(const struct sources *s)
{
    uint64_t first = set_count(&s->sets[0]), others = 0;
    for (uint32_t i = 1; i < s->count; i++)
        others += set_count(&s->sets[i]);
    return first * (s->count - 1) / 2 <= 2 * first + others;
}

static void subtract(struct call *c, uint32_t first, const char *store)
{
    struct sources s;
    if (!sources_find(&s, c, first, c->argc - first))
        return;
    bool empty = set_count(&s.sets[0]) == 0;
    for (uint32_t i = 1; i < s.count; i++)
        empty = empty || same_set(&s.sets[i], &s.sets[0]);
    struct outcome o;
    outcome_start(&o, c, store);
    if (!empty && asking_is_cheaper(&s))
        subtract_by_asking(&s, &o);
    else if (!empty)
        subtract_by_removing(&s, &o);
    sources_free(&s);

    outcome_end(&o, c);
}

static void sdiff_run(struct call *c)
{
    subtract(c, 1, NULL);
}

static void sdiffstore_run(struct call *c)
{
    subtract(c, 2, "sdiffstore");
}

/* A destination at arg 1, accessed as said, and sources to the end. */
#define KEYS_STORE(f)                                                             \
    {{.flags = (f), .begin = 1, .find = KEY_FIND_RANGE, .step = 1},               \
     {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE, .last = -1, .step = 1}}
#define COMPLEXITY_INTER                                                          \
    "O(N*M) worst case where N is the cardinality of the smallest set and M is the number of sets."
#define COMPLEXITY_ALL "O(N) where N is the total number of elements in all given sets."

const struct command set_algebra_commands[] = {
    {
        .name = "sdiff",
        .run = sdiff_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ALL(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_ALL,
        .syntax = "key [key ...]",
        .summary = "Returns the members of the first set that no other has.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "sdiffstore",
        .run = sdiffstore_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SET,
        .keys = KEYS_STORE(KEY_OW | KEY_UPDATE),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_ALL,
        .syntax = "destination key [key ...]",
        .summary = "Stores the members of the first set that no other has.",
    },
    {
        .name = "sinter",
        .run = sinter_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ALL(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_INTER,
        .syntax = "key [key ...]",
        .summary = "Returns the members that all sets have.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "sintercard",
        .run = sintercard_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = {{
            .flags = KEY_RO | KEY_ACCESS,
            .begin = 1,
            .find = KEY_FIND_COUNT,
            .step = 1,
            .first = 1,
        }},
        .group = "set",
        .since = "7.0.0",
        .complexity = COMPLEXITY_INTER,
        .syntax = "numkeys key [key ...] [LIMIT limit]",
        .summary = "Returns how many members all sets have, counting up to a limit.",
    },
    {
        .name = "sinterstore",
        .run = sinterstore_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SET,
        .keys = KEYS_STORE(KEY_RW | KEY_UPDATE),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_INTER,
        .syntax = "destination key [key ...]",
        .summary = "Stores the members that all sets have.",
    },
    {
        .name = "sunion",
        .run = sunion_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_SET,
        .keys = KEYS_ALL(KEY_RO | KEY_ACCESS),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_ALL,
        .syntax = "key [key ...]",
        .summary = "Returns the members that any of the sets has.",
        .tips = "nondeterministic_output_order",
    },
    {
        .name = "sunionstore",
        .run = sunionstore_run,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SET,
        .keys = KEYS_STORE(KEY_OW | KEY_UPDATE),
        .group = "set",
        .since = "1.0.0",
        .complexity = COMPLEXITY_ALL,
        .syntax = "destination key [key ...]",
        .summary = "Stores the members that any of the sets has.",
    },
    {0},
};
