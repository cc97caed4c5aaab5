/* What command bodies share: their keys in a split command, and arguments read with Redis's
 * errors. */
#include "shard/call.h"

#include <assert.h>
#include <math.h>

#include "proto/mem.h"
#include "proto/number.h"

/* Arg indexes of a command's keys. */
struct key_range {
    uint32_t first, last; /* last < first: none */
    uint32_t step;
};

static struct key_range key_range(const struct call *c)
{
    const struct key_spec *spec = &c->command->keys[0];
    assert(spec->find != KEY_FIND_NONE && !spec->keyword && spec->begin > 0 && spec->step > 0);
    int64_t argc = c->argc, first = spec->begin, last;
    if (spec->find == KEY_FIND_COUNT) {
        int64_t count;
        first += spec->first;
        if (spec->begin >= argc || !number_parse_integer(c->argv[spec->begin], &count) ||
            count < 1 || count > argc)
            last = first - 1;
        else
            last = first + (count - 1) * spec->step;
    } else if (spec->last >= 0) {
        last = first + spec->last;
    } else if (spec->limit > 1) {
        last = first + (argc - first) / spec->limit + spec->last;
    } else {
        last = argc + spec->last;
    }
    if (last >= argc)
        last = argc - 1;
    return (struct key_range){(uint32_t)first, (uint32_t)(last < 0 ? 0 : last),
                              (uint32_t)spec->step};
}

bool call_reply_is_vain(const struct call *c)
{
    uint64_t most = c->keyspace->options.reply_size_max;
    return most && c->reply.out->size > most && !c->in_script;
}

uint32_t call_next_key(const struct call *c, uint32_t *at, uint32_t *nth)
{
    struct key_range keys = key_range(c);
    uint32_t i = *at == 0 ? keys.first : *at + keys.step;
    for (; i <= keys.last; i += keys.step) {
        uint32_t index = (i - keys.first) / keys.step;
        if (c->key_shards && c->key_shards[index] != c->shard->index)
            continue;
        if (nth)
            *nth = index;
        *at = i;
        return i;
    }
    return 0;
}

void call_item_end(struct call *c, uint32_t nth, size_t start)
{
    size_t size = c->reply.out->size;
    assert(start <= size && size - start <= UINT32_MAX);
    if (c->item_sizes)
        c->item_sizes[nth] = (uint32_t)(size - start);
}

bool call_arg_integer(struct call *c, uint32_t i, int64_t *value)
{
    assert(i < c->argc);
    if (number_parse_integer(c->argv[i], value))
        return true;
    reply_error_integer(&c->reply);
    return false;
}

/* Redis has one text for what is not positive, be it a number or not; for other ranges it tells
 * the two apart, and names the range. ("ERR value is out of range" alone is for numbers that a
 * 32-bit Redis cannot hold: no 64-bit server ever says it.) */
bool call_arg_integer_in(struct call *c, uint32_t i, int64_t min, int64_t max, int64_t *value)
{
    assert(i < c->argc && min <= max);
    bool integer = number_parse_integer(c->argv[i], value);
    if (integer && *value >= min && *value <= max)
        return true;
    if (min == 0 && max == INT64_MAX)
        reply_error(&c->reply, "ERR value is out of range, must be positive");
    else if (!integer)
        reply_error_integer(&c->reply);
    else
        reply_error(&c->reply, "ERR value is out of range, value must between %lld and %lld",
                    (long long)min, (long long)max);
    return false;
}

bool call_arg_double(struct call *c, uint32_t i, double *value)
{
    assert(i < c->argc);
    if (number_parse_double(c->argv[i], value))
        return true;
    reply_error_float(&c->reply);
    return false;
}

/* --- Waiting --- */

bool call_may_take(const struct call *c, uint32_t arg)
{
    struct slice key = c->argv[arg];
    const struct shard *s = c->shard;
    if (!s)
        s = c->shards[keyspace_shard(c->keyspace, key)];
    else if (keyspace_shard(c->keyspace, key) != s->index)
        s = NULL;
    if (!s)
        return false;
    if (c->repeated || s->waits.link_count == 0)
        return true;
    const struct wait_line *line = wait_find(s, c->db, key);
    return !line || line->reserved == 0;
}

static void free_wait_args(struct call_wait *w)
{
    while (w->args) {
        struct call_wait_arg *next = w->args->next;
        mem_free(w->args);
        w->args = next;
    }
}

void call_wait(struct call *c, struct call_wait wait)
{
    assert(wait.first_key + wait.key_count <= c->argc);
    assert(wait.key_count > 0 || c->may_wait); /* what it answers then its body knows */
    if (c->may_wait) {
        wait.asked = true;
        wait.args = c->wait.args;
        c->wait = wait;
        return;
    }
    free_wait_args(&c->wait);
    if (wait.reply == WAIT_NULL)
        reply_null(&c->reply);
    else
        reply_null_array(&c->reply);
}

void call_wait_arg(struct call *c, uint32_t arg, struct slice text)
{
    assert(arg < c->argc && text.size <= UINT32_MAX);
    struct call_wait_arg *a = mem_alloc(sizeof(*a) + text.size);
    *a = (struct call_wait_arg){.next = c->wait.args, .arg = arg, .size = (uint32_t)text.size};
    if (text.size)
        memcpy(a->text, text.data, text.size);
    c->wait.args = a;
}

/* Redis holds timeouts as milliseconds since the epoch in 64 bits. */
static bool timeout_in_range(struct call *c, long double ms)
{
    if (ms < 0) {
        reply_error(&c->reply, "ERR timeout is negative");
        return false;
    }
    if (ms > (long double)(INT64_MAX - c->now_ms)) {
        reply_error(&c->reply, "ERR timeout is out of range");
        return false;
    }
    return true;
}

bool call_arg_timeout(struct call *c, uint32_t arg, int64_t *timeout_ms)
{
    long double seconds;
    if (!number_parse_long_double(c->argv[arg], &seconds)) {
        reply_error(&c->reply, "ERR timeout is not a float or out of range");
        return false;
    }
    if (!timeout_in_range(c, seconds * 1000))
        return false;
    *timeout_ms = (int64_t)ceill(seconds * 1000);
    return true;
}

bool call_arg_timeout_ms(struct call *c, uint32_t arg, int64_t *timeout_ms)
{
    if (!number_parse_integer(c->argv[arg], timeout_ms)) {
        reply_error(&c->reply, "ERR timeout is not an integer or out of range");
        return false;
    }
    return timeout_in_range(c, *timeout_ms);
}
