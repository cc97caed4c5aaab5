/* Members of sorted sets and their scores: ZADD, ZREM, ZSCORE, ZRANK and their kin.
 *
 * ZINCRBY is ZADD with INCR: both change scores by add_pairs. ZADD reads all its scores before it
 * changes anything, so that a wrong one leaves the set as it was. */
#include "shard/db.h"

#include "proto/mem.h"
#include "shard/cmd/scan_options.h"
#include "shard/type/zset.h"

/* Adding. */

/* Scores of an ordinary ZADD are kept on the stack. */
#define SCORES_INLINE 32

/* What ZADD and ZINCRBY were asked to do. */
struct addition {
    unsigned conditions; /* ZSET_ONLY_NEW ... */
    bool changed;        /* CH: the reply counts moved members as well */
    uint32_t first;      /* argument of the first score, its member behind it */
    uint32_t pairs;
};

/* What came of it. */
struct additions {
    uint64_t added, moved;
    enum zset_outcome last;
    double score; /* that the last member got */
};

static bool take_add_option(struct addition *a, const struct call *c, uint32_t arg)
{
    static const struct {
        const char *word;
        unsigned condition;
    } options[] = {
        {"nx", ZSET_ONLY_NEW},  {"xx", ZSET_ONLY_PRESENT}, {"gt", ZSET_ONLY_GREATER},
        {"lt", ZSET_ONLY_LESS}, {"incr", ZSET_INCREMENT},
    };
    if (call_arg_is(c, arg, "ch")) {
        a->changed = true;
        return true;
    }
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (call_arg_is(c, arg, options[i].word)) {
            a->conditions |= options[i].condition;
            return true;
        }
    }
    return false;
}

/* The error of options that do not go together, or NULL. */
static const char *add_conflict(const struct addition *a)
{
    unsigned set = a->conditions;
    bool greater = set & ZSET_ONLY_GREATER, less = set & ZSET_ONLY_LESS;
    if ((set & ZSET_ONLY_NEW) && (set & ZSET_ONLY_PRESENT))
        return "ERR XX and NX options at the same time are not compatible";
    if ((greater && less) || ((greater || less) && (set & ZSET_ONLY_NEW)))
        return "ERR GT, LT, and/or NX options at the same time are not compatible";
    if ((set & ZSET_INCREMENT) && a->pairs > 1)
        return "ERR INCR option supports a single increment-element pair";
    return NULL;
}

/* Numbers, which no option begins like, are told apart from options by their first byte. */
static bool may_be_option(struct slice arg)
{
    return arg.size >= 2 && arg.size <= 4 && (unsigned char)arg.data[0] >= 'A';
}

static bool read_addition(struct call *c, struct addition *a)
{
    a->first = 2;
    while (a->first < c->argc && may_be_option(c->argv[a->first]) &&
           take_add_option(a, c, a->first))
        a->first++;
    uint32_t left = c->argc - a->first;
    a->pairs = left / 2;
    if (left == 0 || left % 2) {
        reply_error_syntax(&c->reply);
        return false;
    }
    const char *conflict = add_conflict(a);
    if (conflict)
        reply_error(&c->reply, "%s", conflict);
    return !conflict;
}

static void add_pairs(struct call *c, const struct addition *a, const double *scores,
                      struct place *p, struct additions *sum)
{
    struct value v = db_value(p, TYPE_ZSET);
    zset_reserve(&v, c->keyspace, a->pairs);
    for (uint32_t i = 0; i < a->pairs; i++) {
        sum->score = scores[i];
        sum->last = zset_change(&v, c->keyspace, c->argv[a->first + 2 * i + 1], a->conditions,
                                &sum->score);
        sum->added += sum->last == ZSET_ADDED;
        sum->moved += sum->last == ZSET_MOVED;
    }
    db_keep(p, &v);
    if (sum->added || sum->moved) {
        db_changed(c, p);
        db_notify(p, NOTIFY_ZSET, a->conditions & ZSET_INCREMENT ? "zincr" : "zadd");
    }
}

static void reply_addition(struct call *c, const struct addition *a, const struct additions *sum)
{
    if (!(a->conditions & ZSET_INCREMENT))
        reply_integer(&c->reply, (int64_t)(sum->added + (a->changed ? sum->moved : 0)));
    else if (sum->last == ZSET_NAN)
        reply_error(&c->reply, "ERR resulting score is not a number (NaN)");
    else if (sum->last == ZSET_REFUSED)
        reply_null(&c->reply);
    else
        reply_double(&c->reply, sum->score);
}

static bool read_scores(struct call *c, const struct addition *a, double *scores)
{
    for (uint32_t i = 0; i < a->pairs; i++)
        if (!call_arg_double(c, a->first + 2 * i, &scores[i]))
            return false;
    return true;
}

static void add(struct call *c, const struct addition *a)
{
    double few[SCORES_INLINE];
    double *scores = a->pairs <= SCORES_INLINE ? few : mem_alloc(a->pairs * sizeof(*scores));
    struct place p;
    if (read_scores(c, a, scores) && db_find_type(c, 1, DB_WRITE, TYPE_ZSET, &p)) {
        struct additions sum = {.last = ZSET_REFUSED};
        if (p.entry || !(a->conditions & ZSET_ONLY_PRESENT))
            add_pairs(c, a, scores, &p, &sum);
        reply_addition(c, a, &sum);
    }
    if (scores != few)
        mem_free(scores);
}

static void zadd(struct call *c)
{
    struct addition a = {0};
    if (read_addition(c, &a))
        add(c, &a);
}

static void zincrby(struct call *c)
{
    const struct addition a = {.conditions = ZSET_INCREMENT, .first = 2, .pairs = 1};
    add(c, &a);
}

/* Removing. */

static void zrem(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_ZSET, &p))
        return;
    int64_t removed = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        for (uint32_t i = 2; i < c->argc; i++)
            removed += zset_remove(&v, c->keyspace, c->argv[i]);
        db_keep(&p, &v);
        if (removed) {
            db_changed(c, &p);
            db_notify_taken(&p, NOTIFY_ZSET, "zrem");
        }
    }

    reply_integer(&c->reply, removed);
}

/* Asking. */

static void zcard(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    uint64_t count = 0;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        count = zset_count(&v);
    }

    reply_integer(&c->reply, (int64_t)count);
}

/* Replies with the score of each member from argument `first` to below `end`, or null. */
static void reply_scores(struct call *c, const struct place *p, uint32_t first, uint32_t end)
{
    struct value v = {0};
    if (p->entry)
        v = db_value(p, TYPE_ZSET);
    for (uint32_t i = first; i < end; i++) {
        double score;
        if (p->entry && zset_score(&v, c->keyspace, c->argv[i], &score))
            reply_double(&c->reply, score);
        else
            reply_null(&c->reply);
    }
}

static void zscore(struct call *c)
{
    struct place p;
    if (db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        reply_scores(c, &p, 2, 3);
}

static void zmscore(struct call *c)
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    reply_array(&c->reply, c->argc - 2);
    reply_scores(c, &p, 2, c->argc);
}

static void reply_no_rank(struct call *c, bool with_score)
{
    if (with_score)
        reply_null_array(&c->reply);
    else
        reply_null(&c->reply);
}

static void rank_of(struct call *c, bool reverse)
{
    bool with_score = c->argc == 4;
    if (c->argc > 4) {
        reply_error(&c->reply, "ERR wrong number of arguments for '%s' command", c->command->name);
        return;
    }
    if (with_score && !call_arg_is(c, 3, "withscore")) {
        reply_error_syntax(&c->reply);
        return;
    }
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;

    uint64_t rank;
    double score;
    bool found = false;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        found = zset_rank(&v, c->keyspace, c->argv[2], reverse, &rank, &score);
    }

    if (!found) {
        reply_no_rank(c, with_score);
        return;
    }
    if (with_score)
        reply_array(&c->reply, 2);
    reply_integer(&c->reply, (int64_t)rank);
    if (with_score)
        reply_double(&c->reply, score);
}

static void zrank(struct call *c)
{
    rank_of(c, false);
}

static void zrevrank(struct call *c)
{
    rank_of(c, true);
}

/* Random members. */

struct sample {
    struct call *c;
    const struct value *v;
    struct value_random random;
    bool with_scores;
};

static uint64_t next_random(void *shard)
{
    return shard_random(shard);
}

static void reply_member(const struct sample *s, struct slice member, double score)
{
    struct reply *r = &s->c->reply;
    if (s->with_scores && r->protocol >= 3)
        reply_array(r, 2);
    reply_bulk(r, member);
    if (s->with_scores)
        reply_double(r, score);
}

static void reply_rank(const struct sample *s, uint64_t rank)
{
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, s->v, rank, false);
    if (zset_walk_next(&w, &member, &score))
        reply_member(s, member, score);
}

static void sample_repeating(const struct sample *s, uint64_t count)
{
    for (; count > 0 && !call_reply_is_vain(s->c); count--)
        reply_rank(s, value_random_below(&s->random, zset_count(s->v)));
}

/* Goes through all members and takes each with the chance that leaves every choice of `count` as
 * likely as any other: Knuth, "The Art of Computer Programming", volume 2, 3.4.2, algorithm S. */
static void sample_walking(const struct sample *s, uint64_t count)
{
    struct zset_walk w;
    struct slice member;
    double score;
    uint64_t left = zset_count(s->v);
    zset_walk_start(&w, s->v, 0, false);
    for (; count > 0 && zset_walk_next(&w, &member, &score); left--) {
        if (value_random_below(&s->random, left) >= count)
            continue;
        reply_member(s, member, score);
        count--;
    }
}

/* Draws ranks until `count` different ones have come: few of them, so that most are new. The ranks
 * drawn, plus one, are in a hash table of at least twice as many slots. */
static void sample_drawing(const struct sample *s, uint64_t count)
{
    uint64_t mask = 1;
    while (mask < 2 * count)
        mask = 2 * mask + 1;
    uint64_t *drawn = mem_alloc_zeroed((mask + 1) * sizeof(*drawn));
    while (count > 0) {
        uint64_t rank = value_random_below(&s->random, zset_count(s->v));
        uint64_t at = rank & mask;
        while (drawn[at] && drawn[at] != rank + 1)
            at = (at + 1) & mask;
        if (drawn[at])
            continue;
        drawn[at] = rank + 1;
        reply_rank(s, rank);
        count--;
    }
    mem_free(drawn);
}

static void reply_sample(const struct sample *s, int64_t wanted)
{
    uint64_t size = zset_count(s->v);
    uint64_t count = wanted < 0 ? 0 - (uint64_t)wanted : (uint64_t)wanted;
    if (wanted > 0 && count > size)
        count = size;
    bool flat = s->with_scores && s->c->reply.protocol < 3;
    reply_array(&s->c->reply, flat ? 2 * count : count);
    if (wanted < 0 || count == 1)
        sample_repeating(s, count);
    else if (s->v->encoding == ENC_LISTPACK || count >= size / 4)
        sample_walking(s, count);
    else
        sample_drawing(s, count);
}

/* WITHSCORES doubles the reply's size, which must be a number still. */
static bool read_sample_args(struct call *c, int64_t *count, bool *with_scores)
{
    *with_scores = c->argc == 4;
    if (c->argc == 2)
        return true;
    if (!call_arg_integer_in(c, 2, -INT64_MAX, INT64_MAX, count))
        return false;
    if (c->argc > 4 || (*with_scores && !call_arg_is(c, 3, "withscores"))) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (*with_scores && (*count < -INT64_MAX / 2 || *count > INT64_MAX / 2)) {
        reply_error(&c->reply, "ERR value is out of range");
        return false;
    }
    return true;
}

static void zrandmember(struct call *c)
{
    int64_t count = 0;
    bool with_scores;
    if (!read_sample_args(c, &count, &with_scores))
        return;
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;

    if (!p.entry) {
        if (c->argc == 2)
            reply_null(&c->reply);
        else
            reply_array(&c->reply, 0);
        return;
    }
    struct value v = db_value(&p, TYPE_ZSET);
    const struct sample s = {c, &v, {next_random, p.shard}, with_scores};
    if (c->argc == 2)
        sample_repeating(&s, 1);
    else
        reply_sample(&s, count);
}

/* Scanning. */

struct scan_visit {
    struct scan_options options;
    struct scan_reply reply;
};

/* Scores are bulks in both protocols, as in Redis. */
static void scan_member(void *context, struct slice member, double score)
{
    struct scan_visit *s = context;
    if (!scan_options_match(&s->options, member))
        return;
    char text[NUMBER_DOUBLE_SIZE_MAX];
    reply_bulk(&s->reply.elements, member);
    reply_bulk(&s->reply.elements, (struct slice){text, number_format_double(text, score)});
    s->reply.count += 2;
}

static void zscan(struct call *c)
{
    uint64_t cursor;
    if (!scan_cursor_read(c, 2, &cursor))
        return;
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    if (!p.entry) {
        scan_reply_empty(c);
        return;
    }
    struct scan_visit s;
    if (!scan_options_read(c, 3, 0, &s.options))
        return;

    struct value v = db_value(&p, TYPE_ZSET);
    scan_reply_start(&s.reply, c);
    uint64_t position = scan_cursor_position(cursor);
    position = zset_scan(&v, position, s.options.count, scan_member, &s);

    scan_reply_end(&s.reply, c, scan_position_cursor(position));
}

const struct command zset_commands[] = {
    {
        .name = "zadd",
        .run = zadd,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(log(N)) for each member added, where N is the number of members in the "
                      "sorted set.",
        .syntax = "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        .summary = "Adds members to a sorted set, or gives them other scores. "
                   "The key is created if it doesn't exist.",
    },
    {
        .name = "zincrby",
        .run = zincrby,
        .arity = 4,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(log(N)), where N is the number of members in the sorted set.",
        .syntax = "key increment member",
        .summary = "Adds to the score of a member of a sorted set. "
                   "A member that doesn't exist is added with the increment as its score.",
    },
    {
        .name = "zrem",
        .run = zrem,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RW | KEY_DELETE),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(M*log(N)), where N is the number of members in the sorted set and M the "
                      "number of members to be removed.",
        .syntax = "key member [member ...]",
        .summary = "Removes members from a sorted set. The key goes with its last member.",
    },
    {
        .name = "zcard",
        .run = zcard,
        .arity = 2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(1)",
        .syntax = "key",
        .summary = "Returns the number of members in a sorted set.",
    },
    {
        .name = "zscore",
        .run = zscore,
        .arity = 3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "1.2.0",
        .complexity = "O(1)",
        .syntax = "key member",
        .summary = "Returns the score of a member of a sorted set.",
    },
    {
        .name = "zmscore",
        .run = zmscore,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(N), where N is the number of members asked for.",
        .syntax = "key member [member ...]",
        .summary = "Returns the scores of some members of a sorted set.",
    },
    {
        .name = "zrank",
        .run = zrank,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(log(N))",
        .syntax = "key member [WITHSCORE]",
        .summary = "Returns how many members of a sorted set stand before a member.",
    },
    {
        .name = "zrevrank",
        .run = zrevrank,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.0.0",
        .complexity = "O(log(N))",
        .syntax = "key member [WITHSCORE]",
        .summary = "Returns how many members of a sorted set stand behind a member.",
    },
    {
        .name = "zrandmember",
        .run = zrandmember,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "6.2.0",
        .complexity = "O(N*log(M)), where N is the number of members returned and M the number of "
                      "members in the sorted set.",
        .syntax = "key [count [WITHSCORES]]",
        .summary = "Returns random members of a sorted set.",
        .tips = "nondeterministic_output",
    },
    {
        .name = "zscan",
        .run = zscan,
        .arity = -3,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_SORTEDSET,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "sorted-set",
        .since = "2.8.0",
        .complexity = "O(1) for every call. O(N) for a whole pass, where N is the number of "
                      "members in the sorted set.",
        .syntax = "key cursor [MATCH pattern] [COUNT count]",
        .summary = "Goes through the members and scores of a sorted set, some at a time.",
        .tips = "nondeterministic_output",
    },
    {0},
};
