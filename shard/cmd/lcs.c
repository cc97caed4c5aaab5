/* LCS: the longest common subsequence of two strings.
 *
 * Source: the classic dynamic programming (Wagner and Fischer, 1974). With L(i, j) the length for
 * the first i bytes of `a` and the first j of `b`,
 *
 *     L(i, j) = L(i-1, j-1) + 1              where a[i-1] == b[j-1]
 *             = max(L(i-1, j), L(i, j-1))    elsewhere
 *
 * Of L only one row is kept. The way back needs to know no more of a cell than which of its
 * neighbours the maximum came from, so it is kept as one bit a cell, set where
 * L(i-1, j) > L(i, j-1). That choice, and so which of several equally long results is found, is the
 * same as Redis's.
 *
 * The way back meets the result from its end, as a run of matching bytes after another. Each run is
 * one match of the IDX reply, and the runs together are the result. */
#include "shard/call.h"
#include "shard/db.h"

#include "proto/mem.h"
#include "proto/number.h"

struct lcs_options {
    bool length;      /* LEN */
    bool matches;     /* IDX */
    bool match_sizes; /* WITHMATCHLEN */
    int64_t size_min; /* MINMATCHLEN */
};

struct lcs {
    struct slice a, b;
    uint64_t *up; /* bit (i-1) * b.size + (j-1); NULL where the length is all that is wanted */
    uint32_t size; /* of the result */
};

/* A run of matching bytes: a[a_start ...] and b[b_start ...]. */
struct run {
    size_t a_start, b_start, size;
};

static void compute(struct lcs *l, bool want_way_back)
{
    size_t bits = want_way_back ? l->a.size * l->b.size : 0;
    uint32_t *row = mem_alloc_zeroed((l->b.size + 1) * sizeof(*row));
    l->up = want_way_back ? mem_alloc_zeroed((bits / 64 + 1) * sizeof(*l->up)) : NULL;
    for (size_t i = 0; i < l->a.size; i++) {
        uint32_t diagonal = 0;
        for (size_t j = 0; j < l->b.size; j++) {
            uint32_t above = row[j + 1], left = row[j];
            if (l->a.data[i] == l->b.data[j]) {
                row[j + 1] = diagonal + 1;
            } else if (above <= left) {
                row[j + 1] = left;
            } else if (l->up) {
                size_t bit = i * l->b.size + j;
                l->up[bit / 64] |= (uint64_t)1 << bit % 64;
            }
            diagonal = above;
        }
    }
    l->size = row[l->b.size];
    mem_free(row);
}

/* The next run on the way back from position (*i, *j), which starts at the strings' ends; false
 * when there are no more. */
static bool next_run(const struct lcs *l, size_t *i, size_t *j, struct run *r)
{
    while (*i > 0 && *j > 0 && l->a.data[*i - 1] != l->b.data[*j - 1]) {
        size_t bit = (*i - 1) * l->b.size + (*j - 1);
        if (l->up[bit / 64] >> bit % 64 & 1)
            --*i;
        else
            --*j;
    }
    r->size = 0;
    while (*i > 0 && *j > 0 && l->a.data[*i - 1] == l->b.data[*j - 1]) {
        --*i;
        --*j;
        r->size++;
    }
    r->a_start = *i;
    r->b_start = *j;
    return r->size > 0;
}

static void reply_range(struct reply *r, size_t start, size_t size)
{
    reply_array(r, 2);
    reply_integer(r, (int64_t)start);
    reply_integer(r, (int64_t)(start + size - 1));
}

/* The way back is walked twice: the count of matches stands before them. */
static void reply_matches(struct call *c, const struct lcs *l, const struct lcs_options *o)
{
    struct run run;
    size_t count = 0, i = l->a.size, j = l->b.size;
    while (next_run(l, &i, &j, &run))
        count += (int64_t)run.size >= o->size_min;

    reply_map(&c->reply, 2);
    reply_bulk_text(&c->reply, "matches");
    reply_array(&c->reply, count);
    i = l->a.size;
    j = l->b.size;
    while (next_run(l, &i, &j, &run)) {
        if ((int64_t)run.size < o->size_min)
            continue;
        reply_array(&c->reply, o->match_sizes ? 3 : 2);
        reply_range(&c->reply, run.a_start, run.size);
        reply_range(&c->reply, run.b_start, run.size);
        if (o->match_sizes)
            reply_integer(&c->reply, (int64_t)run.size);
    }
    reply_bulk_text(&c->reply, "len");
    reply_integer(&c->reply, l->size);
}

static void reply_result(struct call *c, const struct lcs *l)
{
    char *end = reply_bulk_space(&c->reply, l->size) + l->size;
    struct run run;
    size_t i = l->a.size, j = l->b.size;
    while (next_run(l, &i, &j, &run)) {
        end -= run.size;
        memcpy(end, l->a.data + run.a_start, run.size);
    }
}

static bool read_options(struct call *c, struct lcs_options *o)
{
    for (uint32_t i = 3; i < c->argc; i++) {
        if (call_arg_is(c, i, "LEN")) {
            o->length = true;
        } else if (call_arg_is(c, i, "IDX")) {
            o->matches = true;
        } else if (call_arg_is(c, i, "WITHMATCHLEN")) {
            o->match_sizes = true;
        } else if (call_arg_is(c, i, "MINMATCHLEN") && i + 1 < c->argc) {
            if (!call_arg_integer(c, ++i, &o->size_min))
                return false;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    if (o->length && o->matches)
        reply_error(&c->reply,
                    "ERR If you want both the length and indexes, please just use IDX.");
    return !(o->length && o->matches);
}

/* True, having replied, where the strings are too long. The bounds are Redis's, which keeps the
 * whole of L at four bytes a cell; they bound the time that the command takes. */
static bool refuse_sizes(struct call *c, struct slice a, struct slice b)
{
    if (a.size >= UINT32_MAX - 1 || b.size >= UINT32_MAX - 1) {
        reply_error(&c->reply, "ERR String too long for LCS");
        return true;
    }
    uint64_t cells = (uint64_t)(a.size + 1) * (b.size + 1), bytes;
    if (__builtin_mul_overflow(cells, sizeof(uint32_t), &bytes) ||
        bytes > c->keyspace->options.bulk_size_max) {
        reply_error(&c->reply, "ERR Insufficient memory, transient memory for LCS exceeds "
                               "proto-max-bulk-len");
        return true;
    }
    return false;
}

static void lcs(struct call *c)
{
    struct place first = db_find(c, 1, DB_READ), second = db_find(c, 2, DB_READ);
    if ((first.entry && !db_is_string(&first)) || (second.entry && !db_is_string(&second))) {
        reply_error(&c->reply, "ERR The specified keys must contain string values");
        return;
    }
    struct lcs_options o = {0};
    if (!read_options(c, &o))
        return;

    char scratch_a[NUMBER_INTEGER_SIZE_MAX], scratch_b[NUMBER_INTEGER_SIZE_MAX];
    struct lcs l = {
        .a = first.entry ? db_string(&first, scratch_a) : SLICE(""),
        .b = second.entry ? db_string(&second, scratch_b) : SLICE(""),
    };
    if (refuse_sizes(c, l.a, l.b))
        return;
    compute(&l, !o.length);

    if (o.matches)
        reply_matches(c, &l, &o);
    else if (o.length)
        reply_integer(&c->reply, l.size);
    else
        reply_result(c, &l);
    mem_free(l.up);
}

const struct command lcs_commands[] = {
    {
        .name = "lcs",
        .run = lcs,
        .arity = -3,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY,
        .acl = ACL_STRING,
        .keys = {{
            .flags = KEY_RO | KEY_ACCESS,
            .begin = 1,
            .find = KEY_FIND_RANGE,
            .last = 1,
            .step = 1,
        }},
        .group = "string",
        .since = "7.0.0",
        .complexity = "O(N*M) where N and M are the lengths of the two strings.",
        .syntax = "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        .summary = "Finds the longest common subsequence of two string values.",
    },
    {0},
};
