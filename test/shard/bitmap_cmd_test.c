/* SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP, BITFIELD: edges by hand, and random runs against models
 * that go bit by bit. */
#include <criterion/criterion.h>

#include "test/shard/cmd_driver.h"

/* The models compute with integers of 128 bits, which ISO C has not. */
#pragma GCC diagnostic ignored "-Wpedantic"

#define STRING_SIZE_MAX 80

static struct world world;

static void start(void)
{
    world_init(&world, 4);
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(bitmap, .init = start, .fini = stop);
TestSuite(bitop, .init = start, .fini = stop);
TestSuite(bitfield, .init = start, .fini = stop);

static const char *run(const char *line)
{
    return world_run(&world, line);
}

static void expect(const char *line, const char *reply)
{
    const char *got = run(line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static void set(const char *key, const void *bytes, size_t size)
{
    struct slice argv[] = {SLICE("SET"), slice_of(key), {bytes, size}};
    cr_assert_str_eq(world_run_args(&world, argv, 3), "+OK\r\n");
}

/* The value of a key, copied; its size, or -1 where there is none. */
static int64_t get(const char *key, unsigned char *bytes, size_t size_max)
{
    struct slice argv[] = {SLICE("GET"), slice_of(key)};
    const char *reply = world_run_args(&world, argv, 2);
    int64_t size = strtoll(reply + 1, NULL, 10);
    cr_assert(reply[0] == '$' && size <= (int64_t)size_max);
    if (size > 0)
        memcpy(bytes, strchr(reply, '\n') + 1, (size_t)size);
    return size;
}

static int64_t integer(const char *line)
{
    const char *reply = run(line);
    cr_assert(reply[0] == ':', "%s: %s", line, reply);
    return strtoll(reply + 1, NULL, 10);
}

static uint64_t changes(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < world.keyspace.shard_count; i++)
        sum += world.shards[i].stats.changes;
    return sum;
}

/* Random bytes with long runs of zeros and of ones among them. */
static size_t random_bytes(unsigned char *to, size_t size_max)
{
    size_t size = (size_t)rand() % (size_max + 1);
    for (size_t i = 0; i < size;) {
        size_t end = i + 1 + (size_t)rand() % 24;
        int kind = rand() % 3;
        for (; i < end && i < size; i++)
            to[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (unsigned char)rand();
    }
    return size;
}

static int bit_at(const unsigned char *bytes, size_t size, uint64_t i)
{
    return i / 8 < size ? bytes[i / 8] >> (7 - i % 8) & 1 : 0;
}

Test(bitmap, setbit_creates_grows_and_returns_the_old_bit)
{
    expect("SETBIT k 7 1", ":0\r\n");
    expect("GET k", "$1\r\n\x01\r\n");
    expect("SETBIT k 7 0", ":1\r\n");
    expect("SETBIT k 100 1", ":0\r\n");
    expect("STRLEN k", ":13\r\n");
    expect("GETBIT k 100", ":1\r\n");
    expect("GETBIT k 101", ":0\r\n");
    expect("GETBIT k 4294967295", ":0\r\n");
    expect("GETBIT missing 3", ":0\r\n");
}

Test(bitmap, setbit_says_that_it_changed_only_when_it_did)
{
    run("SETBIT k 9 0");
    cr_expect_eq(changes(), 1);
    run("SETBIT k 9 0");
    cr_expect_eq(changes(), 1);
    run("SETBIT k 9 1");
    cr_expect_eq(changes(), 2);
    run("SETBIT k 20 0");
    cr_expect_eq(changes(), 3);
}

Test(bitmap, setbit_keeps_the_expiry)
{
    run("SET k abc");
    run("EXPIRE k 50");
    run("SETBIT k 500 1");
    expect("TTL k", ":50\r\n");
}

Test(bitmap, offsets_end_where_strings_do)
{
    const char *error = "-ERR bit offset is not an integer or out of range\r\n";
    expect("SETBIT k 4294967296 1", error);
    expect("SETBIT k -1 1", error);
    expect("GETBIT k x", error);
    world.keyspace.options.bulk_size_max = 4;
    expect("SETBIT k 32 1", error);
    expect("SETBIT k 31 1", ":0\r\n");
    expect("STRLEN k", ":4\r\n");
    expect("BITFIELD k GET u8 #4", error);
    expect("BITFIELD k GET u8 #1152921504606846976", error);
}

Test(bitmap, bad_arguments_leave_no_key)
{
    expect("SETBIT k 0 2", "-ERR bit is not an integer or out of range\r\n");
    expect("SETBIT k 0 x", "-ERR bit is not an integer or out of range\r\n");
    expect("BITFIELD k SET u8 0 1 SET u64 0 1",
           "-ERR Invalid bitfield type. Use something like i16 u8. "
           "Note that u64 is not supported but i64 is.\r\n");
    expect("BITFIELD k SET u8 0 1 FOO", "-ERR syntax error\r\n");
    expect("EXISTS k", ":0\r\n");
}

/* What BITCOUNT and BITPOS make of their indexes, in bits, end exclusive. */
static void clamp(int64_t *start, int64_t *end, int64_t total, int64_t unit)
{
    *start = *start < 0 ? *start + total : *start;
    *end = *end < 0 ? *end + total : *end;
    *start = *start < 0 ? 0 : *start;
    *end = *end < 0 ? 0 : *end;
    *end = (*end >= total ? total - 1 : *end) + 1;
    *start *= unit;
    *end *= unit;
}

Test(bitmap, bitcount_agrees_with_counting_bit_by_bit)
{
    srand(1);
    unsigned char bytes[STRING_SIZE_MAX];
    for (int round = 0; round < 4000; round++) {
        size_t size = random_bytes(bytes, sizeof(bytes));
        set("k", bytes, size);
        bool in_bits = rand() % 2;
        int64_t total = (int64_t)size * (in_bits ? 8 : 1), reach = total + 20;
        int64_t start = rand() % (2 * reach) - reach, end = rand() % (2 * reach) - reach;
        char line[100];
        snprintf(line, sizeof(line), "BITCOUNT k %ld %ld %s", (long)start, (long)end,
                 in_bits ? "BIT" : "BYTE");
        int64_t expected = 0;
        if (!(start < 0 && end < 0 && start > end)) {
            clamp(&start, &end, total, in_bits ? 1 : 8);
            for (int64_t i = start; i < end; i++)
                expected += bit_at(bytes, size, (uint64_t)i);
        }
        cr_assert_eq(integer(line), expected, "%s", line);
    }
}

Test(bitmap, bitpos_agrees_with_looking_bit_by_bit)
{
    srand(2);
    unsigned char bytes[STRING_SIZE_MAX];
    for (int round = 0; round < 4000; round++) {
        size_t size = random_bytes(bytes, sizeof(bytes));
        set("k", bytes, size);
        bool in_bits = rand() % 2, has_end = in_bits || rand() % 2;
        int bit = rand() % 2;
        int64_t total = (int64_t)size * (in_bits ? 8 : 1), reach = total + 20;
        int64_t start = rand() % (2 * reach) - reach;
        int64_t end = has_end ? rand() % (2 * reach) - reach : -1;
        char line[100];
        int used = snprintf(line, sizeof(line), "BITPOS k %d %ld", bit, (long)start);
        if (has_end)
            snprintf(line + used, sizeof(line) - (size_t)used, " %ld%s", (long)end,
                     in_bits ? " BIT" : "");
        clamp(&start, &end, total, in_bits ? 1 : 8);
        int64_t expected = -1;
        for (int64_t i = start; i < end && expected < 0; i++)
            expected = bit_at(bytes, size, (uint64_t)i) == bit ? i : -1;
        if (expected < 0 && !bit && !has_end && start < end)
            expected = (int64_t)size * 8;
        cr_assert_eq(integer(line), expected, "%s", line);
    }
}

Test(bitmap, a_missing_key_is_all_zeros)
{
    expect("BITCOUNT k", ":0\r\n");
    expect("BITPOS k 0", ":0\r\n");
    expect("BITPOS k 1", ":-1\r\n");
    run("SETBIT k 0 0");
    run("SETRANGE k 0 ");
    expect("BITPOS k 1", ":-1\r\n");
}

/* A bit of the result, from how many of the sources have it, and whether the first does. */
static int model_bit(const char *op, int first, int count, int sources)
{
    if (!strcmp(op, "AND"))
        return count == sources;
    if (!strcmp(op, "OR"))
        return count > 0;
    if (!strcmp(op, "XOR"))
        return count & 1;
    if (!strcmp(op, "NOT"))
        return !first;
    if (!strcmp(op, "DIFF"))
        return first && count == 1;
    if (!strcmp(op, "DIFF1"))
        return !first && count > 0;
    if (!strcmp(op, "ANDOR"))
        return first && count > 1;
    return count == 1;
}

Test(bitop, agrees_with_a_model_that_goes_bit_by_bit)
{
    static const char *const ops[] = {"AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE"};
    static unsigned char bytes[6][9000], result[9000];
    srand(3);
    for (int round = 0; round < 400; round++) {
        const char *op = ops[round % 8];
        int sources = round % 8 == 3 ? 1 : 2 + rand() % 4;
        size_t sizes[6], size_max = 0, limit = round % 20 == 0 ? sizeof(result) : STRING_SIZE_MAX;
        char line[100] = "BITOP ";
        strcat(strcat(line, op), " k2");
        for (int k = 0; k < sources; k++) {
            char key[] = {'k', (char)('0' + k), 0};
            sizes[k] = random_bytes(bytes[k], limit);
            set(key, bytes[k], sizes[k]);
            size_max = sizes[k] > size_max ? sizes[k] : size_max;
            strcat(strcat(line, " "), key);
        }
        cr_assert_eq(integer(line), (int64_t)size_max, "%s", line);
        cr_assert_eq(get("k2", result, sizeof(result)), size_max ? (int64_t)size_max : -1);
        for (uint64_t i = 0; i < size_max * 8; i++) {
            int count = 0;
            for (int k = 0; k < sources; k++)
                count += bit_at(bytes[k], sizes[k], i);
            cr_assert_eq(bit_at(result, size_max, i),
                         model_bit(op, bit_at(bytes[0], sizes[0], i), count, sources),
                         "%s: bit %lu", line, (unsigned long)i);
        }
    }
}

Test(bitop, drops_expiry_and_integer_form_of_the_destination)
{
    run("SET source 123");
    run("SET d 1");
    run("EXPIRE d 100");
    expect("BITOP OR d source", ":3\r\n");
    expect("GET d", "$3\r\n123\r\n");
    expect("OBJECT ENCODING d", "$3\r\nraw\r\n");
    expect("TTL d", ":-1\r\n");
}

Test(bitop, of_nothing_removes_the_destination)
{
    run("SET d 1");
    uint64_t before = changes();
    expect("BITOP AND d missing other", ":0\r\n");
    expect("EXISTS d", ":0\r\n");
    cr_expect_eq(changes(), before + 1);
    expect("BITOP AND d missing other", ":0\r\n");
    cr_expect_eq(changes(), before + 1);
}

Test(bitop, counts_sources_for_each_operation)
{
    expect("BITOP NOT d a b", "-ERR BITOP NOT must be called with a single source key.\r\n");
    expect("BITOP diff d a", "-ERR BITOP DIFF must be called with at least two source keys.\r\n");
    expect("BITOP DIFF1 d a", "-ERR BITOP DIFF1 must be called with at least two source keys.\r\n");
    expect("BITOP AndOr d a", "-ERR BITOP ANDOR must be called with at least two source keys.\r\n");
    expect("BITOP ONE d a", ":0\r\n");
    expect("BITOP NAND d a", "-ERR syntax error\r\n");
}

Test(bitfield, gets_beyond_the_end_and_does_not_create)
{
    expect("BITFIELD k GET u8 0 GET i64 1000", "*2\r\n:0\r\n:0\r\n");
    expect("BITFIELD_RO k GET u8 0", "*1\r\n:0\r\n");
    expect("BITFIELD k", "*0\r\n");
    expect("EXISTS k", ":0\r\n");
    run("SET k a");
    expect("BITFIELD k GET u16 0 GET u4 6 GET i2 1", "*3\r\n:24832\r\n:4\r\n:-1\r\n");
    cr_expect_eq(changes(), 1);
}

Test(bitfield, wraps_saturates_or_fails_on_overflow)
{
    expect("BITFIELD k SET u2 0 3 INCRBY u2 0 1 OVERFLOW SAT INCRBY u2 0 9 INCRBY u2 0 -9 "
           "OVERFLOW FAIL INCRBY u2 0 -1 SET u2 0 4 INCRBY u2 0 3",
           "*7\r\n:0\r\n:0\r\n:3\r\n:0\r\n$-1\r\n$-1\r\n:3\r\n");
    expect("BITFIELD k SET i8 8 127 INCRBY i8 8 1 OVERFLOW SAT INCRBY i8 8 -1 SET i8 8 300 "
           "GET i8 8 OVERFLOW FAIL INCRBY i8 8 1",
           "*6\r\n:0\r\n:-128\r\n:-128\r\n:-128\r\n:127\r\n$-1\r\n");
    world.protocol = 3;
    expect("BITFIELD k OVERFLOW FAIL SET u1 0 2", "*1\r\n_\r\n");
}

Test(bitfield, saturates_the_least_integer_to_the_field_s_least)
{
    expect("BITFIELD k OVERFLOW SAT SET i8 0 -9223372036854775808 GET i8 0",
           "*2\r\n:0\r\n:-128\r\n");
}

Test(bitfield, read_only_form_refuses_writes)
{
    expect("BITFIELD_RO k GET u8 0 SET u8 0 1",
           "-ERR BITFIELD_RO only supports the GET subcommand\r\n");
    expect("EXISTS k", ":0\r\n");
}

struct model_field {
    char sign;
    int width;
    uint64_t offset;
};

static __int128 model_get(const unsigned char *bytes, size_t size, struct model_field f)
{
    __int128 value = 0;
    for (int i = 0; i < f.width; i++)
        value = value * 2 + bit_at(bytes, size, f.offset + (uint64_t)i);
    if (f.sign == 'i' && value >> (f.width - 1))
        value -= (__int128)1 << f.width;
    return value;
}

static void model_put(unsigned char *bytes, struct model_field f, __int128 value)
{
    for (int i = 0; i < f.width; i++) {
        uint64_t at = f.offset + (uint64_t)i;
        unsigned char mask = (unsigned char)(0x80 >> at % 8);
        bool one = value >> (f.width - 1 - i) & 1;
        bytes[at / 8] = (unsigned char)(one ? bytes[at / 8] | mask : bytes[at / 8] & ~mask);
    }
}

/* What a field shall hold for a value that may not fit; false for FAIL. */
static bool model_fit(const char *overflow, struct model_field f, __int128 *value)
{
    __int128 span = (__int128)1 << f.width;
    __int128 min = f.sign == 'i' ? -span / 2 : 0, max = min + span - 1;
    if (*value >= min && *value <= max)
        return true;
    if (!strcmp(overflow, "SAT"))
        *value = *value > max ? max : min;
    else if (!strcmp(overflow, "WRAP"))
        *value = ((*value - min) % span + span) % span + min;
    return strcmp(overflow, "FAIL");
}

static struct model_field random_field(void)
{
    char sign = rand() % 2 ? 'i' : 'u';
    int width = 1 + rand() % (sign == 'i' ? 64 : 63);
    return (struct model_field){sign, width, (uint64_t)(rand() % (STRING_SIZE_MAX * 8 - 64))};
}

/* Small, of the field's size, or anywhere in 64 bits. */
static int64_t random_delta(struct model_field f)
{
    uint64_t bits = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
    int keep = rand() % 3 == 0 ? 3 : rand() % 2 ? f.width : 64;
    int64_t value = (int64_t)(bits >> (64 - keep));
    return rand() % 2 && value != INT64_MIN ? -value : value;
}

Test(bitfield, incrby_agrees_with_arithmetic_on_wide_integers)
{
    static const char *const overflows[] = {"WRAP", "SAT", "FAIL"};
    unsigned char model[STRING_SIZE_MAX] = {0}, bytes[STRING_SIZE_MAX];
    set("k", model, sizeof(model));
    srand(4);
    for (int round = 0; round < 10000; round++) {
        struct model_field f = random_field();
        const char *overflow = overflows[rand() % 3];
        int64_t delta = random_delta(f);
        char line[120], expected[60] = "*1\r\n$-1\r\n";
        snprintf(line, sizeof(line), "BITFIELD k OVERFLOW %s INCRBY %c%d %lu %ld", overflow, f.sign,
                 f.width, (unsigned long)f.offset, (long)delta);
        __int128 value = model_get(model, sizeof(model), f) + delta;
        if (model_fit(overflow, f, &value)) {
            model_put(model, f, value);
            snprintf(expected, sizeof(expected), "*1\r\n:%ld\r\n", (long)value);
        }
        cr_assert_str_eq(run(line), expected, "%s", line);
    }
    cr_assert_eq(get("k", bytes, sizeof(bytes)), (int64_t)sizeof(model));
    cr_assert_arr_eq(bytes, model, sizeof(model));
}

Test(bitfield, set_returns_what_was_there_and_touches_no_other_bit)
{
    unsigned char model[STRING_SIZE_MAX] = {0}, bytes[STRING_SIZE_MAX];
    set("k", model, sizeof(model));
    srand(5);
    for (int round = 0; round < 5000; round++) {
        struct model_field f = random_field();
        int64_t value = random_delta(f);
        char line[120], expected[60];
        snprintf(line, sizeof(line), "BITFIELD k SET %c%d %lu %ld", f.sign, f.width,
                 (unsigned long)f.offset, (long)value);
        snprintf(expected, sizeof(expected), "*1\r\n:%ld\r\n",
                 (long)model_get(model, sizeof(model), f));
        model_put(model, f, value);
        cr_assert_str_eq(run(line), expected, "%s", line);
    }
    cr_assert_eq(get("k", bytes, sizeof(bytes)), (int64_t)sizeof(model));
    cr_assert_arr_eq(bytes, model, sizeof(model));
}
