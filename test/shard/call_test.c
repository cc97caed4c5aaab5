/* Arguments with Redis's error texts, and the walk over a split command's keys. */
#include "shard/call.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define ARGS_MAX 16

static struct keyspace keyspace;
static struct shard shard = {.index = 1, .keyspace = &keyspace};
static struct buf out;
static struct slice argv[ARGS_MAX];
static struct command command = {.name = "test"};
static struct call call;

/* `words` are the arguments, name included, up to a NULL. */
static void start(const char *const *words)
{
    uint32_t argc = 0;
    for (; words[argc]; argc++)
        argv[argc] = slice_of(words[argc]);
    buf_deinit(&out);
    buf_init(&out);
    call = (struct call){
        .shard = &shard,
        .keyspace = &keyspace,
        .command = &command,
        .argv = argv,
        .argc = argc,
        .reply = {.out = &out, .protocol = 2},
    };
}

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

static void assert_error(const char *text)
{
    cr_assert(slice_equal(buf_slice(&out), slice_of(text)), "%.*s", (int)out.size, out.data);
    out.size = 0;
}

Test(call, an_integer_is_read_or_refused_in_the_words_of_redis)
{
    START("test", "-42", "x", "", "1.5", "9223372036854775808");
    int64_t value;
    cr_assert(call_arg_integer(&call, 1, &value));
    cr_assert_eq(value, -42);
    cr_assert_eq(out.size, 0);
    for (uint32_t i = 2; i < call.argc; i++) {
        cr_assert_not(call_arg_integer(&call, i, &value));
        assert_error("-ERR value is not an integer or out of range\r\n");
    }
}

Test(call, a_positive_integer_has_one_error_for_all_else)
{
    START("test", "0", "9223372036854775807", "-1", "x");
    int64_t value;
    cr_assert(call_arg_integer_in(&call, 1, 0, INT64_MAX, &value));
    cr_assert(call_arg_integer_in(&call, 2, 0, INT64_MAX, &value));
    cr_assert_eq(value, INT64_MAX);
    for (uint32_t i = 3; i < call.argc; i++) {
        cr_assert_not(call_arg_integer_in(&call, i, 0, INT64_MAX, &value));
        assert_error("-ERR value is out of range, must be positive\r\n");
    }
}

Test(call, an_integer_outside_of_a_range_is_told_the_range)
{
    START("test", "3", "-3", "4", "x");
    int64_t value;
    cr_assert(call_arg_integer_in(&call, 1, -3, 3, &value));
    cr_assert(call_arg_integer_in(&call, 2, -3, 3, &value));
    cr_assert_not(call_arg_integer_in(&call, 3, -3, 3, &value));
    assert_error("-ERR value is out of range, value must between -3 and 3\r\n");
    cr_assert_not(call_arg_integer_in(&call, 4, -3, 3, &value));
    assert_error("-ERR value is not an integer or out of range\r\n");
}

Test(call, a_float_is_read_or_refused)
{
    START("test", "1.25", "x");
    double value;
    cr_assert(call_arg_double(&call, 1, &value));
    cr_assert_eq(value, 1.25);
    cr_assert_not(call_arg_double(&call, 2, &value));
    assert_error("-ERR value is not a valid float\r\n");
}

/* The keys that the walk yields, as "arg:nth " each. */
static const char *walk(void)
{
    static char text[256];
    uint32_t at = 0, nth;
    size_t size = 0;
    text[0] = 0;
    while (call_next_key(&call, &at, &nth))
        size += (size_t)sprintf(text + size, "%u:%u ", at, nth);
    return text;
}

static void set_spec(struct key_spec spec)
{
    command.keys[0] = spec;
}

Test(call, the_walk_meets_the_keys_of_a_range)
{
    START("test", "a", "b", "c", "d");
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 1});
    cr_assert_str_eq(walk(), "1:0 2:1 3:2 4:3 ");
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 2});
    cr_assert_str_eq(walk(), "1:0 3:1 ");
    set_spec((struct key_spec){.begin = 2, .find = KEY_FIND_RANGE, .last = -2, .step = 1});
    cr_assert_str_eq(walk(), "2:0 3:1 ");
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_RANGE, .last = 1, .step = 1});
    cr_assert_str_eq(walk(), "1:0 2:1 ");
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 1,
                               .limit = 2});
    cr_assert_str_eq(walk(), "1:0 2:1 ");
}

Test(call, the_walk_meets_as_many_keys_as_an_argument_counts)
{
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_COUNT, .first = 1, .step = 1});
    START("test", "2", "a", "b", "LIMIT", "1");
    cr_assert_str_eq(walk(), "2:0 3:1 ");
    START("test", "9223372036854775807", "a");
    cr_assert_str_eq(walk(), "");
    START("test", "-1", "a");
    cr_assert_str_eq(walk(), "");
    START("test", "x", "a");
    cr_assert_str_eq(walk(), "");
    START("test", "3", "a");
    cr_assert_str_eq(walk(), "2:0 ");
}

Test(call, the_walk_yields_only_keys_of_this_shard)
{
    static const uint16_t key_shards[] = {1, 0, 1, 2, 1};
    START("test", "a", "b", "c", "d", "e");
    call.key_shards = key_shards;
    set_spec((struct key_spec){.begin = 1, .find = KEY_FIND_RANGE, .last = -1, .step = 1});
    cr_assert_str_eq(walk(), "1:0 3:2 5:4 ");
}

Test(call, item_sizes_are_noted_by_key)
{
    uint32_t sizes[3] = {0};
    START("test", "a", "b", "c");
    call_item_end(&call, 1, 0);
    call.item_sizes = sizes;
    reply_null(&call.reply);
    size_t start_of_second = out.size;
    call_item_end(&call, 2, 0);
    reply_bulk_text(&call.reply, "abc");
    call_item_end(&call, 0, start_of_second);
    cr_assert_eq(sizes[2], 5);
    cr_assert_eq(sizes[0], 9);
    cr_assert_eq(sizes[1], 0);
}
