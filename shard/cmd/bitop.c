/* BITOP: bitwise operations over whole strings.
 *
 * The result is as long as the longest source; shorter and missing ones count as followed by
 * zeros. Redis 8.2 added four operations, of a first source X and the others Y1, Y2, ...: DIFF is
 * X and in no Y, DIFF1 in some Y and not in X, ANDOR in X and in some Y, ONE in exactly one
 * source.
 *
 * The result is made a block at a time, each source passing over the block in turn, so that the
 * block stays in the cache and every inner loop is one the compiler makes vector instructions of.
 * A block is written where it belongs after every source was read there: the destination may be a
 * source. */
#include "proto/mem.h"
#include "proto/number.h"
#include "shard/db.h"

#define BLOCK_SIZE ((size_t)4096)

enum bit_op { OP_AND, OP_OR, OP_XOR, OP_NOT, OP_DIFF, OP_DIFF1, OP_ANDOR, OP_ONE, OP_COUNT };

static const char *const op_words[OP_COUNT] = {
    "AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE",
};

struct source {
    struct slice bytes;
    char scratch[NUMBER_INTEGER_SIZE_MAX]; /* where the bytes are, when the key is an integer */
};

/* One block of the result. */
struct block {
    unsigned char *to;
    size_t size;
    size_t offset; /* in the strings */
};

/* The part of the block that a source has bytes for. */
static struct slice source_part(const struct source *s, const struct block *b)
{
    if (s->bytes.size <= b->offset)
        return (struct slice){NULL, 0};
    size_t left = s->bytes.size - b->offset;
    return (struct slice){s->bytes.data + b->offset, left < b->size ? left : b->size};
}

static void block_copy(struct block *b, struct slice from)
{
    if (from.size)
        memcpy(b->to, from.data, from.size);
    memset(b->to + from.size, 0, b->size - from.size);
}

static void block_and(struct block *b, struct slice from)
{
    unsigned char *restrict to = b->to;
    const char *restrict in = from.data;
    for (size_t i = 0; i < from.size; i++)
        to[i] &= (unsigned char)in[i];
    memset(to + from.size, 0, b->size - from.size);
}

static void block_or(struct block *b, struct slice from)
{
    unsigned char *restrict to = b->to;
    const char *restrict in = from.data;
    for (size_t i = 0; i < from.size; i++)
        to[i] |= (unsigned char)in[i];
}

static void block_xor(struct block *b, struct slice from)
{
    unsigned char *restrict to = b->to;
    const char *restrict in = from.data;
    for (size_t i = 0; i < from.size; i++)
        to[i] ^= (unsigned char)in[i];
}

static void block_and_not(struct block *b, struct slice from)
{
    unsigned char *restrict to = b->to;
    const char *restrict in = from.data;
    for (size_t i = 0; i < from.size; i++)
        to[i] &= (unsigned char)~in[i];
}

static void block_invert(struct block *b)
{
    unsigned char *to = b->to;
    size_t size = b->size;
    for (size_t i = 0; i < size; i++)
        to[i] = (unsigned char)~to[i];
}

/* Adds a source to the bits `seen`, and those that were seen before to the bits seen `again`. */
static void note_seen(unsigned char *restrict seen, unsigned char *restrict again,
                      struct slice from)
{
    const char *restrict in = from.data;
    for (size_t i = 0; i < from.size; i++) {
        again[i] |= seen[i] & (unsigned char)in[i];
        seen[i] |= (unsigned char)in[i];
    }
}

/* The bits of exactly one source. */
static void block_one(struct block *b, const struct source *sources, uint32_t count)
{
    unsigned char again[BLOCK_SIZE] = {0};
    block_copy(b, source_part(&sources[0], b));
    for (uint32_t k = 1; k < count; k++)
        note_seen(b->to, again, source_part(&sources[k], b));
    block_and_not(b, (struct slice){(const char *)again, b->size});
}

/* The operations that set the first source against the union of the others. */
static void block_first_and_rest(enum bit_op op, struct block *b, const struct source *sources,
                                 uint32_t count)
{
    struct slice first = source_part(&sources[0], b);
    block_copy(b, source_part(&sources[1], b));
    for (uint32_t k = 2; k < count; k++)
        block_or(b, source_part(&sources[k], b));
    if (op == OP_DIFF1) {
        block_and_not(b, first);
        return;
    }
    if (op == OP_DIFF)
        block_invert(b);
    block_and(b, first);
}

static void block_fold(enum bit_op op, struct block *b, const struct source *sources,
                       uint32_t count)
{
    block_copy(b, source_part(&sources[0], b));
    for (uint32_t k = 1; k < count; k++) {
        struct slice from = source_part(&sources[k], b);
        if (op == OP_AND)
            block_and(b, from);
        else if (op == OP_OR)
            block_or(b, from);
        else
            block_xor(b, from);
    }
    if (op == OP_NOT)
        block_invert(b);
}

static void combine(enum bit_op op, char *to, size_t size, const struct source *sources,
                    uint32_t count)
{
    unsigned char bytes[BLOCK_SIZE];
    for (size_t at = 0; at < size; at += BLOCK_SIZE) {
        struct block b = {bytes, size - at < BLOCK_SIZE ? size - at : BLOCK_SIZE, at};
        if (op == OP_ONE)
            block_one(&b, sources, count);
        else if (op == OP_DIFF || op == OP_DIFF1 || op == OP_ANDOR)
            block_first_and_rest(op, &b, sources, count);
        else
            block_fold(op, &b, sources, count);
        memcpy(to + at, bytes, b.size);
    }
}

static bool read_op(struct call *c, enum bit_op *op)
{
    int found = 0;
    while (found < OP_COUNT && !call_arg_is(c, 1, op_words[found]))
        found++;
    if (found == OP_COUNT) {
        reply_error_syntax(&c->reply);
        return false;
    }
    *op = (enum bit_op)found;
    if (*op == OP_NOT && c->argc != 4) {
        reply_error(&c->reply, "ERR BITOP NOT must be called with a single source key.");
        return false;
    }
    if ((*op == OP_DIFF || *op == OP_DIFF1 || *op == OP_ANDOR) && c->argc < 5) {
        reply_error(&c->reply, "ERR BITOP %s must be called with at least two source keys.",
                    op_words[found]);
        return false;
    }
    return true;
}

/* Finds the sources, keys from arg 3 on; false, having replied, where one is not a string. A
 * source's bytes stay good while further keys are looked up: that may remove an expired key, but
 * never one that was found. */
static bool read_sources(struct call *c, struct source *sources, uint32_t count, size_t *size_max)
{
    *size_max = 0;
    for (uint32_t k = 0; k < count; k++) {
        struct place p = db_find(c, 3 + k, DB_READ);
        sources[k].bytes = (struct slice){NULL, 0};
        if (!p.entry)
            continue;
        if (!db_is_string(&p)) {
            reply_error_wrong_type(&c->reply);
            return false;
        }
        sources[k].bytes = db_string(&p, sources[k].scratch);
        if (sources[k].bytes.size > *size_max)
            *size_max = sources[k].bytes.size;
    }
    return true;
}

static void remove_destination(struct call *c)
{
    struct place p = db_find(c, 2, DB_WRITE);
    if (!p.entry)
        return;
    db_delete(&p);
    db_changed(c, &p);
    db_notify(&p, NOTIFY_GENERIC, "del");
}

/* Makes the destination raw bytes without an expiry. Where it is a source too, that source's bytes
 * have moved: the same ones now begin the destination. */
static char *make_destination(struct call *c, struct place *p, size_t size, struct source *sources,
                              uint32_t count)
{
    *p = db_find(c, 2, DB_WRITE);
    if (p->entry && !db_is_string(p))
        db_put_text(p, SLICE(""), DB_NO_EXPIRY);
    else if (p->entry)
        db_set_expiry(p, DB_NO_EXPIRY);
    char *to = db_string_bytes(p, size);
    for (uint32_t k = 0; k < count; k++)
        if (sources[k].bytes.size && slice_equal(c->argv[3 + k], c->argv[2]))
            sources[k].bytes.data = to;
    return to;
}

static void bitop_run(struct call *c)
{
    enum bit_op op;
    if (!read_op(c, &op))
        return;
    uint32_t count = c->argc - 3;
    struct source *sources = mem_alloc(count * sizeof(*sources));
    size_t size;
    if (!read_sources(c, sources, count, &size)) {
        mem_free(sources);
        return;
    }

    if (size) {
        struct place p;
        char *to = make_destination(c, &p, size, sources, count);
        combine(op, to, size, sources, count);
        db_changed(c, &p);
        db_notify(&p, NOTIFY_STRING, "set");
    } else {
        remove_destination(c);
    }
    mem_free(sources);

    reply_integer(&c->reply, (int64_t)size);
}

const struct command bitop_commands[] = {
    {
        .name = "bitop",
        .run = bitop_run,
        .arity = -4,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_BITMAP,
        .keys = {{.flags = KEY_OW | KEY_UPDATE, .begin = 2, .find = KEY_FIND_RANGE, .step = 1},
                 {.flags = KEY_RO | KEY_ACCESS, .begin = 3, .find = KEY_FIND_RANGE, .last = -1,
                  .step = 1}},
        .group = "bitmap",
        .since = "2.6.0",
        .complexity = "O(N)",
        .syntax = "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
        .summary = "Combines strings bit by bit and stores the result.",
    },
    {0},
};
