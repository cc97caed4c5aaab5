/* Which arguments of a request are keys, from the row's key specs.
 *
 * A spec says where its keys begin (at an index, or after a word) and how they go on (a range,
 * or as many as a count argument says). Source: the Redis documentation on key specifications. */
#include <assert.h>

#include "proto/number.h"
#include "server/command_keys_parse.h"

/* The spec's first key and its last, as args; none where last is below first. */
struct key_run {
    int64_t first;
    int64_t last;
};

/* The arg after the spec's keyword, or 0 where it is missing. From a negative `begin` the search
 * goes backwards; the last argument cannot be the keyword, as nothing follows it. */
static int64_t find_keyword(const struct key_spec *spec, const struct slice *argv, uint32_t argc)
{
    bool forward = spec->begin > 0;
    int64_t i = forward ? spec->begin : (int64_t)argc + spec->begin;
    for (; i >= 1 && i < argc; i += forward ? 1 : -1)
        if (i < (int64_t)argc - 1 && slice_is(argv[i], spec->keyword))
            return i + 1;
    return 0;
}

static bool find_range(const struct key_spec *spec, uint32_t argc, int64_t begin,
                       struct key_run *run)
{
    run->first = begin;
    if (spec->last >= 0)
        run->last = begin + spec->last;
    else if (spec->limit)
        run->last = begin + ((int64_t)argc - begin) / spec->limit + spec->last;
    else
        run->last = (int64_t)argc + spec->last;
    return run->last >= begin && run->last < argc;
}

/* A count of 0 is no misfit: EVAL takes it. The commands that do not say so themselves. */
static bool find_counted(const struct key_spec *spec, const struct slice *argv, uint32_t argc,
                         int64_t at, struct key_run *run)
{
    int64_t count;
    if (at >= argc || !number_parse_integer(argv[at], &count) || count < 0 || count > argc)
        return false;
    run->first = at + spec->first;
    run->last = run->first + (count - 1) * spec->step;
    return run->last < argc;
}

/* SET reads the old value only with GET. */
static uint32_t flags_of_set(const struct slice *argv, uint32_t argc)
{
    for (uint32_t i = 3; i < argc; i++)
        if (slice_is(argv[i], "get"))
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    return KEY_OW | KEY_UPDATE;
}

/* BITFIELD only reads where all its operations are GETs; OVERFLOW is about later writes. */
static uint32_t flags_of_bitfield(const struct slice *argv, uint32_t argc)
{
    uint32_t i = 2;
    while (i < argc) {
        uint32_t size = slice_is(argv[i], "get") ? 3 : slice_is(argv[i], "overflow") ? 2 : 0;
        if (size == 0 || argc - i < size)
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
        i += size;
    }
    return KEY_RO | KEY_ACCESS;
}

/* What a request does to the keys of a spec whose flags depend on the arguments
 * (KEY_VARIABLE_FLAGS). For a command without a rule here the spec's flags, the most it may do,
 * stand. */
static uint32_t settle_flags(const struct command *row, const struct key_spec *spec,
                             const struct slice *argv, uint32_t argc)
{
    if (strcmp(row->name, "set") == 0)
        return flags_of_set(argv, argc);
    if (strcmp(row->name, "bitfield") == 0)
        return flags_of_bitfield(argv, argc);
    return spec->flags;
}

int64_t command_keys(const struct command *row, const struct slice *argv, uint32_t argc,
                     struct command_key *keys, uint32_t max)
{
    assert(keys || max == 0);
    const struct command_parser *parser = command_parser_of(row);
    if (parser)
        return parser->keys(row, argv, argc, keys, max);
    int64_t found = 0;
    for (int s = 0; s < KEY_SPECS_MAX && row->keys[s].find != KEY_FIND_NONE; s++) {
        const struct key_spec *spec = &row->keys[s];
        if (spec->flags & KEY_NOT_KEY || spec->find == KEY_FIND_UNKNOWN)
            continue;
        int64_t begin = spec->keyword ? find_keyword(spec, argv, argc) : spec->begin;
        if (begin == 0)
            continue;
        struct key_run run;
        bool fits = spec->find == KEY_FIND_RANGE ? find_range(spec, argc, begin, &run)
                                                 : find_counted(spec, argv, argc, begin, &run);
        if (!fits)
            return -1;
        uint32_t flags = spec->flags;
        if (flags & KEY_VARIABLE_FLAGS && max)
            flags = settle_flags(row, spec, argv, argc);
        for (int64_t i = run.first; i <= run.last; i += spec->step, found++)
            if (found < max)
                keys[found] = (struct command_key){(uint32_t)i, flags};
    }
    return found;
}

bool command_has_keys(const struct command *row)
{
    for (int s = 0; s < KEY_SPECS_MAX && row->keys[s].find != KEY_FIND_NONE; s++)
        if (!(row->keys[s].flags & KEY_NOT_KEY))
            return true;
    return false;
}
