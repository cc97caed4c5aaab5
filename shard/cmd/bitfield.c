/* Bit fields: integers of 1 to 64 bits at any bit of a string. BITFIELD, BITFIELD_RO.
 *
 * A call holds any number of operations. All of them are read and checked before the first runs;
 * they are then read a second time as they run, which costs less than keeping them would. Fields
 * are big-endian and signed ones two's complement; what lies beyond the string's end reads as
 * zeros. */
#include <assert.h>

#include "proto/number.h"
#include "shard/cmd/bitmap.h"

enum field_action { FIELD_GET, FIELD_SET, FIELD_ADD };
enum field_overflow { OVERFLOW_WRAP, OVERFLOW_SAT, OVERFLOW_FAIL };

struct field_op {
    enum field_action action;
    enum field_overflow overflow;
    bool is_signed;
    unsigned width;   /* bits: 1 to 64, unsigned ones to 63 */
    uint64_t offset;  /* of its first bit */
    int64_t operand;  /* what to set or to add */
};

/* Where the reading of operations is. OVERFLOW holds for all operations after it. */
struct op_reader {
    uint32_t at;
    enum field_overflow overflow;
};

enum op_status { OP_READ, OP_END, OP_ERROR };

static bool read_overflow(struct call *c, uint32_t arg, enum field_overflow *overflow)
{
    if (call_arg_is(c, arg, "wrap")) {
        *overflow = OVERFLOW_WRAP;
    } else if (call_arg_is(c, arg, "sat")) {
        *overflow = OVERFLOW_SAT;
    } else if (call_arg_is(c, arg, "fail")) {
        *overflow = OVERFLOW_FAIL;
    } else {
        reply_error(&c->reply, "ERR Invalid OVERFLOW type specified");
        return false;
    }
    return true;
}

static bool read_encoding(struct call *c, uint32_t arg, struct field_op *op)
{
    struct slice text = c->argv[arg];
    int64_t width = 0;
    bool valid = text.size > 1 && (text.data[0] == 'i' || text.data[0] == 'u') &&
                 number_parse_integer((struct slice){text.data + 1, text.size - 1}, &width);
    op->is_signed = valid && text.data[0] == 'i';
    if (!valid || width < 1 || width > (op->is_signed ? 64 : 63)) {
        reply_error(&c->reply, "ERR Invalid bitfield type. Use something like i16 u8. "
                               "Note that u64 is not supported but i64 is.");
        return false;
    }
    op->width = (unsigned)width;
    return true;
}

/* The action's word, followed by as many arguments as it takes. */
static bool read_action(struct call *c, uint32_t at, enum field_action *action)
{
    uint32_t left = c->argc - at - 1;
    if (call_arg_is(c, at, "get") && left >= 2) {
        *action = FIELD_GET;
    } else if (call_arg_is(c, at, "set") && left >= 3) {
        *action = FIELD_SET;
    } else if (call_arg_is(c, at, "incrby") && left >= 3) {
        *action = FIELD_ADD;
    } else {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

/* Reads the next operation. On OP_ERROR the error has been written. */
static enum op_status read_op(struct call *c, struct op_reader *r, struct field_op *op)
{
    while (r->at + 1 < c->argc && call_arg_is(c, r->at, "overflow")) {
        if (!read_overflow(c, r->at + 1, &r->overflow))
            return OP_ERROR;
        r->at += 2;
    }
    if (r->at == c->argc)
        return OP_END;
    *op = (struct field_op){.overflow = r->overflow};
    if (!read_action(c, r->at, &op->action) || !read_encoding(c, r->at + 1, op) ||
        !bitmap_read_offset(c, r->at + 2, op->width, &op->offset))
        return OP_ERROR;
    if (op->action == FIELD_GET) {
        r->at += 3;
        return OP_READ;
    }
    if (!call_arg_integer(c, r->at + 3, &op->operand))
        return OP_ERROR;
    r->at += 4;
    return OP_READ;
}

/* What the operations of a call come to. */
struct plan {
    size_t count;
    bool writes;
    uint64_t last; /* the last bit that any of them writes */
};

static bool read_plan(struct call *c, struct plan *plan)
{
    *plan = (struct plan){0};
    struct op_reader reader = {.at = 2};
    struct field_op op;
    enum op_status status;
    while ((status = read_op(c, &reader, &op)) == OP_READ) {
        plan->count++;
        if (op.action == FIELD_GET)
            continue;
        plan->writes = true;
        if (plan->last < op.offset + op.width - 1)
            plan->last = op.offset + op.width - 1;
    }
    return status == OP_END;
}

/* Fields are read and written a byte's share at a time: of the byte that `offset` is in, the share
 * is `take` bits that end `below` bits above the byte's least significant one. */
struct share {
    unsigned take;
    unsigned below;
    unsigned mask;
};

static struct share share_at(uint64_t offset, unsigned width)
{
    unsigned room = 8 - (unsigned)(offset & 7);
    unsigned take = width < room ? width : room;
    return (struct share){take, room - take, (1u << take) - 1};
}

static uint64_t load_bits(const struct bitmap_bytes *b, uint64_t offset, unsigned width)
{
    uint64_t value = 0;
    while (width) {
        struct share s = share_at(offset, width);
        unsigned byte = offset >> 3 < b->size ? b->data[offset >> 3] : 0;
        value = value << s.take | (byte >> s.below & s.mask);
        offset += s.take;
        width -= s.take;
    }
    return value;
}

static void store_bits(struct bitmap_bytes *b, uint64_t offset, unsigned width, uint64_t value)
{
    assert((offset + width - 1) >> 3 < b->size);
    while (width) {
        struct share s = share_at(offset, width);
        unsigned char *byte = &b->data[offset >> 3];
        width -= s.take;
        unsigned bits = (unsigned)(value >> width) & s.mask;
        *byte = (unsigned char)((*byte & ~(s.mask << s.below)) | bits << s.below);
        offset += s.take;
    }
}

static uint64_t width_mask(unsigned width)
{
    return UINT64_MAX >> (64 - width);
}

/* The low `width` bits as the operation's kind of integer, in 64-bit two's complement. */
static int64_t extend(const struct field_op *op, uint64_t bits)
{
    bits &= width_mask(op->width);
    uint64_t sign = op->is_signed ? UINT64_C(1) << (op->width - 1) : 0;
    return (int64_t)((bits ^ sign) - sign);
}

enum fit { FIT_INSIDE, FIT_ABOVE, FIT_BELOW };

static enum fit fit_signed(int64_t value, int64_t delta, unsigned width)
{
    int64_t max = (int64_t)(width_mask(width) >> 1);
    int64_t sum;
    if (__builtin_add_overflow(value, delta, &sum))
        return delta > 0 ? FIT_ABOVE : FIT_BELOW;
    if (sum > max)
        return FIT_ABOVE;
    return sum < -max - 1 ? FIT_BELOW : FIT_INSIDE;
}

/* A negative value to SET reaches here as a huge one, and is above every field, as in Redis. */
static enum fit fit_unsigned(uint64_t value, int64_t delta, unsigned width)
{
    uint64_t max = width_mask(width);
    if (value > max || (delta > 0 && (uint64_t)delta > max - value))
        return FIT_ABOVE;
    return delta < 0 && 0 - (uint64_t)delta > value ? FIT_BELOW : FIT_INSIDE;
}

/* The value + delta that the field shall hold; false where it must stay as it is. */
static bool add_in_field(const struct field_op *op, int64_t value, int64_t delta, int64_t *sum)
{
    enum fit fit = op->is_signed ? fit_signed(value, delta, op->width)
                                 : fit_unsigned((uint64_t)value, delta, op->width);
    if (fit != FIT_INSIDE && op->overflow == OVERFLOW_FAIL)
        return false;
    if (fit == FIT_INSIDE || op->overflow == OVERFLOW_WRAP) {
        *sum = extend(op, (uint64_t)value + (uint64_t)delta);
        return true;
    }
    uint64_t max = width_mask(op->width);
    if (!op->is_signed)
        *sum = fit == FIT_ABOVE ? (int64_t)max : 0;
    else
        *sum = fit == FIT_ABOVE ? (int64_t)(max >> 1) : -(int64_t)(max >> 1) - 1;
    return true;
}

/* Does one operation and replies to it; true where it changed the string, or wrote where there was
 * none. */
static bool run_op(struct call *c, const struct field_op *op, struct bitmap_bytes *b)
{
    int64_t before = extend(op, load_bits(b, op->offset, op->width));
    if (op->action == FIELD_GET) {
        reply_integer(&c->reply, before);
        return false;
    }
    bool set = op->action == FIELD_SET;
    int64_t after;
    if (!add_in_field(op, set ? op->operand : before, set ? 0 : op->operand, &after)) {
        reply_null(&c->reply);
        return false;
    }
    store_bits(b, op->offset, op->width, (uint64_t)after);
    reply_integer(&c->reply, set ? before : after);
    return after != before || b->grown;
}

static bool run_ops(struct call *c, struct bitmap_bytes *b)
{
    bool changed = false;
    struct op_reader reader = {.at = 2};
    struct field_op op;
    while (read_op(c, &reader, &op) == OP_READ)
        changed |= run_op(c, &op, b);
    return changed;
}

static void run_fields(struct call *c, bool read_only)
{
    struct plan plan;
    if (!read_plan(c, &plan))
        return;
    if (plan.writes && read_only) {
        reply_error(&c->reply, "ERR BITFIELD_RO only supports the GET subcommand");
        return;
    }

    struct place p = db_find(c, 1, plan.writes ? DB_WRITE : DB_READ);
    if (p.entry && !db_is_string(&p)) {
        reply_error_wrong_type(&c->reply);
        return;
    }
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct bitmap_bytes bytes = {0};
    if (plan.writes) {
        bytes = bitmap_make_room(&p, plan.last);
    } else if (p.entry) {
        struct slice value = db_string(&p, scratch);
        bytes = (struct bitmap_bytes){(unsigned char *)value.data, value.size, false};
    }

    reply_array(&c->reply, plan.count);
    bool written = run_ops(c, &bytes);
    if (written || bytes.grown)
        db_changed(c, &p);
    if (written)
        db_notify(&p, NOTIFY_STRING, "setbit");
}

static void bitfield_run(struct call *c)
{
    run_fields(c, false);
}

static void bitfield_ro_run(struct call *c)
{
    run_fields(c, true);
}

const struct command bitfield_commands[] = {
    {
        .name = "bitfield",
        .run = bitfield_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE_NOTED(KEY_RW | KEY_UPDATE | KEY_ACCESS | KEY_VARIABLE_FLAGS,
                               "This command allows both access and modification of the key"),
        .group = "bitmap",
        .since = "3.2.0",
        .complexity = "O(1) for each subcommand specified",
        .syntax = "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
                  "<SET encoding offset value | INCRBY encoding offset increment> "
                  "[GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
                  "<SET encoding offset value | INCRBY encoding offset increment> ...]]",
        .summary = "Reads, sets and adds to integers of any width inside a string.",
    },
    {
        .name = "bitfield_ro",
        .run = bitfield_ro_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY | CMD_FAST,
        .acl = ACL_BITMAP,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "bitmap",
        .since = "6.0.0",
        .complexity = "O(1) for each subcommand specified",
        .syntax = "key [GET encoding offset [GET encoding offset ...]]",
        .summary = "Reads integers of any width inside a string.",
    },
    {0},
};
