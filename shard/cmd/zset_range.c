/* Ranges of sorted sets: ZCOUNT, ZLEXCOUNT, ZRANGE and its older forms, ZRANGESTORE,
 * ZREMRANGEBYLEX, ZREMRANGEBYRANK, ZREMRANGEBYSCORE.
 *
 * A range is given by rank, by score or, where all scores are equal, by member. Whichever it is, it
 * becomes a run of ranks, and from there on all of these commands are the same. */
#include <math.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/cmd/zset_result.h"

/* A range as the client gives it. */
struct range {
    enum zset_range_kind kind;
    int64_t start, stop;
    struct zset_score_range scores;
    struct zset_lex_range lex;
};

/* Ranks from `first` to below `end`. */
struct run {
    uint64_t first, end;
};

struct range_options {
    bool reverse, with_scores;
    int64_t offset;
    int64_t limit; /* negative: none */
};

/* What an argument holds up to its first zero byte, as strtod reads it: blanks before the number
 * are well, an overflow is infinity, nothing at all is 0. */
static bool parse_score_text(struct slice s, double *score)
{
    char *text = mem_alloc(s.size + 1), *end;
    if (s.size)
        memcpy(text, s.data, s.size);
    text[s.size] = '\0';
    *score = strtod(text, &end);
    bool ok = *end == '\0' && !isnan(*score);
    mem_free(text);
    return ok;
}

static bool parse_score(struct slice s, double *score, bool *open)
{
    *open = s.size && s.data[0] == '(';
    if (*open)
        s = (struct slice){s.data + 1, s.size - 1};
    return number_parse_double(s, score) || parse_score_text(s, score);
}

static bool parse_lex(struct slice s, struct zset_lex_bound *bound)
{
    *bound = (struct zset_lex_bound){0};
    if (s.size == 0)
        return false;
    bool alone = s.size == 1 || s.data[1] == '\0';
    switch (s.data[0]) {
    case '-':
        bound->infinite = -1;
        return alone;
    case '+':
        bound->infinite = 1;
        return alone;
    case '(':
    case '[':
        bound->open = s.data[0] == '(';
        bound->text = (struct slice){s.data + 1, s.size - 1};
        return true;
    default:
        return false;
    }
}

/* Reads the bounds at args `low` and `high`; false, having replied, when they are none. */
static bool read_bounds(struct call *c, uint32_t low, uint32_t high, struct range *r)
{
    const struct slice *argv = c->argv;
    switch (r->kind) {
    case ZSET_RANGE_RANK:
        return call_arg_integer(c, low, &r->start) && call_arg_integer(c, high, &r->stop);
    case ZSET_RANGE_SCORE:
        if (parse_score(argv[low], &r->scores.min, &r->scores.min_open) &&
            parse_score(argv[high], &r->scores.max, &r->scores.max_open))
            return true;
        reply_error(&c->reply, "ERR min or max is not a float");
        return false;
    default:
        if (parse_lex(argv[low], &r->lex.min) && parse_lex(argv[high], &r->lex.max))
            return true;
        reply_error(&c->reply, "ERR min or max not valid string range item");
        return false;
    }
}

/* Negative ranks count from the end. */
static struct run run_of_ranks(int64_t start, int64_t stop, int64_t count)
{
    if (start < 0)
        start += count;
    if (stop < 0)
        stop += count;
    if (start < 0)
        start = 0;
    if (stop >= count)
        stop = count - 1;
    if (start > stop)
        return (struct run){0, 0};
    return (struct run){(uint64_t)start, (uint64_t)stop + 1};
}

/* The members in the range. With `reverse` a range of ranks counts from the last member. */
static struct run run_of(const struct value *v, const struct range *r, bool reverse)
{
    struct run run;
    uint64_t count = zset_count(v);
    switch (r->kind) {
    case ZSET_RANGE_RANK:
        run = run_of_ranks(r->start, r->stop, (int64_t)count);
        return reverse ? (struct run){count - run.end, count - run.first} : run;
    case ZSET_RANGE_SCORE:
        zset_ranks_of_scores(v, &r->scores, &run.first, &run.end);
        break;
    default:
        zset_ranks_of_lex(v, &r->lex, &run.first, &run.end);
    }
    if (run.end < run.first)
        run.end = run.first;
    return run;
}

/* What of the run LIMIT leaves; of a run that is walked in reverse the end comes first. */
static struct run apply_limit(struct run run, const struct range_options *o)
{
    uint64_t count = run.end - run.first;
    uint64_t skipped = o->offset < 0 || (uint64_t)o->offset > count ? count : (uint64_t)o->offset;
    uint64_t left = count - skipped;
    if (o->limit >= 0 && (uint64_t)o->limit < left)
        left = (uint64_t)o->limit;
    if (o->reverse)
        return (struct run){run.end - skipped - left, run.end - skipped};
    return (struct run){run.first + skipped, run.first + skipped + left};
}

/* --- Counting and removing --- */

static void count_range(struct call *c, enum zset_range_kind kind)
{
    struct range range = {.kind = kind};
    if (!read_bounds(c, 2, 3, &range))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    struct run run = {0, 0};
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        run = run_of(&v, &range, false);
    }

    reply_integer(&c->reply, (int64_t)(run.end - run.first));
}

static void zcount_run(struct call *c)
{
    count_range(c, ZSET_RANGE_SCORE);
}

static void zlexcount_run(struct call *c)
{
    count_range(c, ZSET_RANGE_LEX);
}

void zset_removed_ranks(struct call *c, const struct value *v, enum zset_range_kind kind,
                        uint64_t *first, uint64_t *end)
{
    struct range range = {.kind = kind};
    struct run run = {0, 0};
    size_t size = c->reply.out->size;
    unsigned errors = c->reply.errors;
    if (read_bounds(c, 2, 3, &range))
        run = run_of(v, &range, false);
    c->reply.out->size = size;
    c->reply.errors = errors;
    *first = run.first;
    *end = run.end;
}

static void remove_range(struct call *c, enum zset_range_kind kind)
{
    static const char *const events[] = {
        [ZSET_RANGE_RANK] = "zremrangebyrank",
        [ZSET_RANGE_SCORE] = "zremrangebyscore",
        [ZSET_RANGE_LEX] = "zremrangebylex",
    };
    struct range range = {.kind = kind};
    if (!read_bounds(c, 2, 3, &range))
        return;

    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_ZSET, &p))
        return;
    struct run run = {0, 0};
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        run = run_of(&v, &range, false);
        if (run.first < run.end) {
            zset_remove_ranks(&v, c->keyspace, run.first, run.end);
            db_keep(&p, &v);
            db_changed(c, &p);
            db_notify_taken(&p, NOTIFY_ZSET, events[kind]);
        }
    }

    reply_integer(&c->reply, (int64_t)(run.end - run.first));
}

static void zremrangebyrank_run(struct call *c)
{
    remove_range(c, ZSET_RANGE_RANK);
}

static void zremrangebyscore_run(struct call *c)
{
    remove_range(c, ZSET_RANGE_SCORE);
}

static void zremrangebylex_run(struct call *c)
{
    remove_range(c, ZSET_RANGE_LEX);
}

/* --- Walking --- */

/* A form of ZRANGE: what its name says, and its options may not. */
struct form {
    uint32_t key;     /* the arg that is the key; the bounds follow */
    bool free;        /* ZRANGE and ZRANGESTORE: options say the kind and direction */
    bool store;
    bool reverse;
    enum zset_range_kind kind;
};

/* Takes the option at *i, if it is one that needs no more arguments. */
static bool read_word(struct call *c, uint32_t i, const struct form *form, struct range *r,
                      struct range_options *o, bool *kind_given)
{
    if (!form->store && call_arg_is(c, i, "withscores")) {
        o->with_scores = true;
        return true;
    }
    if (!form->free)
        return false;
    if (!o->reverse && call_arg_is(c, i, "rev")) {
        o->reverse = true;
        return true;
    }
    bool lex = call_arg_is(c, i, "bylex");
    if (*kind_given || (!lex && !call_arg_is(c, i, "byscore")))
        return false;
    r->kind = lex ? ZSET_RANGE_LEX : ZSET_RANGE_SCORE;
    *kind_given = true;
    return true;
}

static bool read_options(struct call *c, const struct form *form, struct range *r,
                         struct range_options *o)
{
    bool kind_given = false;
    for (uint32_t i = form->key + 3; i < c->argc; i++) {
        if (read_word(c, i, form, r, o, &kind_given))
            continue;
        if (!call_arg_is(c, i, "limit") || i + 2 >= c->argc) {
            reply_error_syntax(&c->reply);
            return false;
        }
        if (!call_arg_integer(c, i + 1, &o->offset) || !call_arg_integer(c, i + 2, &o->limit))
            return false;
        i += 2;
    }
    if (o->limit != -1 && r->kind == ZSET_RANGE_RANK) {
        reply_error(&c->reply, "ERR syntax error, LIMIT is only supported in combination with "
                               "either BYSCORE or BYLEX");
        return false;
    }
    if (o->with_scores && r->kind == ZSET_RANGE_LEX) {
        reply_error(&c->reply,
                    "ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        return false;
    }
    return true;
}

/* Ranges by score and by member name their upper bound first when they go in reverse. */
static bool read_range(struct call *c, const struct form *form, struct range *r,
                       struct range_options *o)
{
    *r = (struct range){.kind = form->kind};
    *o = (struct range_options){.reverse = form->reverse, .limit = -1};
    if (!read_options(c, form, r, o))
        return false;
    bool swapped = o->reverse && r->kind != ZSET_RANGE_RANK;
    uint32_t low = form->key + 1 + swapped, high = form->key + 2 - swapped;
    return read_bounds(c, low, high, r);
}

/* Starts the walk over what is asked for; returns how many members that are. */
static uint64_t start_walk(struct zset_walk *w, const struct value *v, const struct range *r,
                           const struct range_options *o)
{
    struct run run = run_of(v, r, o->reverse);
    if (r->kind != ZSET_RANGE_RANK)
        run = apply_limit(run, o);
    uint64_t count = run.end - run.first;
    if (count)
        zset_walk_start(w, v, o->reverse ? zset_count(v) - run.end : run.first, o->reverse);
    return count;
}

static void reply_range(struct call *c, const struct form *form)
{
    struct range range;
    struct range_options options;
    if (!read_range(c, form, &range, &options))
        return;

    struct place p;
    if (!db_find_type(c, form->key, DB_READ, TYPE_ZSET, &p))
        return;
    struct zset_walk w;
    struct value v;
    uint64_t count = 0;
    if (p.entry) {
        v = db_value(&p, TYPE_ZSET);
        count = start_walk(&w, &v, &range, &options);
    }

    zset_reply_open(&c->reply, count, options.with_scores);
    struct slice member;
    double score;
    for (; count && zset_walk_next(&w, &member, &score); count--)
        zset_reply_member(&c->reply, member, score, options.with_scores);
}

static void zrange_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .free = true});
}

static void zrevrange_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .reverse = true});
}

static void zrangebyscore_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .kind = ZSET_RANGE_SCORE});
}

static void zrevrangebyscore_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .kind = ZSET_RANGE_SCORE, .reverse = true});
}

static void zrangebylex_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .kind = ZSET_RANGE_LEX});
}

static void zrevrangebylex_run(struct call *c)
{
    reply_range(c, &(struct form){.key = 1, .kind = ZSET_RANGE_LEX, .reverse = true});
}

static void zrangestore_run(struct call *c)
{
    const struct form form = {.key = 2, .free = true, .store = true};
    struct range range;
    struct range_options options;
    if (!read_range(c, &form, &range, &options))
        return;

    struct place p;
    if (!db_find_type(c, form.key, DB_READ, TYPE_ZSET, &p))
        return;
    struct value result = zset_ops.create(c->keyspace);
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        struct zset_walk w;
        struct slice member;
        double score;
        uint64_t count = start_walk(&w, &v, &range, &options);
        zset_reserve(&result, c->keyspace, count);
        for (; count && zset_walk_next(&w, &member, &score); count--)
            zset_put(&result, c->keyspace, member, score);
    }

    zset_store(c, 1, &result, "zrangestore");
}

const struct command zset_range_commands[] = {
    {
        .name = "zcount",
        .run = zcount_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
        .syntax = "key min max",
        .summary = "Counts the members with a score in a range.",
    },
    {
        .name = "zlexcount",
        .run = zlexcount_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.8.9",
        .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
        .syntax = "key min max",
        .summary = "Counts the members in a range of members, where all scores are equal.",
    },
    {
        .name = "zrange",
        .run = zrange_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements returned.",
        .syntax = "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        .summary = "Returns the members in a range of ranks, of scores or of members.",
    },
    {
        .name = "zrangebylex",
        .run = zrangebylex_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.8.9",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements being returned. If M is constant (e.g. always "
                      "asking for the first 10 elements with LIMIT), you can consider it "
                      "O(log(N)).",
        .syntax = "key min max [LIMIT offset count]",
        .summary = "Returns the members in a range of members, where all scores are equal.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`ZRANGE` with the `BYLEX` argument",
    },
    {
        .name = "zrangebyscore",
        .run = zrangebyscore_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "1.0.5",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements being returned. If M is constant (e.g. always "
                      "asking for the first 10 elements with LIMIT), you can consider it "
                      "O(log(N)).",
        .syntax = "key min max [WITHSCORES] [LIMIT offset count]",
        .summary = "Returns the members in a range of scores.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`ZRANGE` with the `BYSCORE` argument",
    },
    {
        .name = "zrangestore",
        .run = zrangestore_run,
        .arity = -5,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_SORTEDSET,
        .keys =
            {
                {.flags = KEY_OW | KEY_UPDATE, .begin = 1, .find = KEY_FIND_RANGE,
                 .last = 0, .step = 1},
                {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE,
                 .last = 0, .step = 1},
            },
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements stored into the destination key.",
        .syntax = "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        .summary = "Keeps the members in a range of a sorted set under another key.",
    },
    {
        .name = "zremrangebylex",
        .run = zremrangebylex_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "sorted-set",
        .since = "2.8.9",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements removed by the operation.",
        .syntax = "key min max",
        .summary = "Removes the members in a range of members, where all scores are equal.",
    },
    {
        .name = "zremrangebyrank",
        .run = zremrangebyrank_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements removed by the operation.",
        .syntax = "key start stop",
        .summary = "Removes the members in a range of ranks.",
    },
    {
        .name = "zremrangebyscore",
        .run = zremrangebyscore_run,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements removed by the operation.",
        .syntax = "key min max",
        .summary = "Removes the members with a score in a range.",
    },
    {
        .name = "zrevrange",
        .run = zrevrange_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements returned.",
        .syntax = "key start stop [WITHSCORES]",
        .summary = "Returns the members in a range of ranks, the highest score first.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`ZRANGE` with the `REV` argument",
    },
    {
        .name = "zrevrangebylex",
        .run = zrevrangebylex_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.8.9",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements being returned. If M is constant (e.g. always "
                      "asking for the first 10 elements with LIMIT), you can consider it "
                      "O(log(N)).",
        .syntax = "key max min [LIMIT offset count]",
        .summary = "Returns the members in a range of members from the last on, where all scores "
                   "are equal.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`ZRANGE` with the `REV` and `BYLEX` arguments",
    },
    {
        .name = "zrevrangebyscore",
        .run = zrevrangebyscore_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.2.0",
        .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M "
                      "the number of elements being returned. If M is constant (e.g. always "
                      "asking for the first 10 elements with LIMIT), you can consider it "
                      "O(log(N)).",
        .syntax = "key max min [WITHSCORES] [LIMIT offset count]",
        .summary = "Returns the members in a range of scores, the highest first.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`ZRANGE` with the `REV` and `BYSCORE` arguments",
    },
    {0},
};
