/* Keys found by reading a command's options: see command_keys_parse.h. */
#include "server/command_keys_parse.h"

/* Adds a key where there is room; returns the count with it. */
static int64_t add(struct command_key *keys, uint32_t max, int64_t found, uint32_t arg,
                   uint32_t flags)
{
    if (found < max)
        keys[found] = (struct command_key){arg, flags};
    return found + 1;
}

/* SORT key [BY p] [LIMIT o c] [GET p ...] [STORE d]: of several STOREs the last one counts. */
static int64_t keys_of_sort(const struct command *row, const struct slice *argv, uint32_t argc,
                            struct command_key *keys, uint32_t max)
{
    uint32_t store = 0;
    for (uint32_t i = 2; i < argc; i++) {
        if (slice_is(argv[i], "limit"))
            i += 2;
        else if (slice_is(argv[i], "get") || slice_is(argv[i], "by"))
            i++;
        else if (slice_is(argv[i], "store") && i + 1 < argc)
            store = ++i;
    }
    int64_t found = add(keys, max, 0, 1, KEY_RO | KEY_ACCESS);
    return store ? add(keys, max, found, store, KEY_OW | KEY_UPDATE) : found;
}

/* GEORADIUS key lon lat radius unit ... and GEORADIUSBYMEMBER key member radius unit ... */
static int64_t keys_of_georadius(const struct command *row, const struct slice *argv,
                                 uint32_t argc, struct command_key *keys, uint32_t max)
{
    uint32_t store = 0;
    for (uint32_t i = 5; i + 1 < argc; i++)
        if (slice_is(argv[i], "store") || slice_is(argv[i], "storedist"))
            store = ++i;
    int64_t found = add(keys, max, 0, 1, KEY_RO | KEY_ACCESS);
    return store ? add(keys, max, found, store, KEY_OW | KEY_UPDATE) : found;
}

/* Where the keys begin: after STREAMS, or 0. */
static uint32_t streams_begin(const struct slice *argv, uint32_t argc)
{
    for (uint32_t i = 1; i < argc; i++) {
        if (slice_is(argv[i], "streams"))
            return i + 1;
        if (slice_is(argv[i], "block") || slice_is(argv[i], "count"))
            i++;
        else if (slice_is(argv[i], "group"))
            i += 2;
        else if (!slice_is(argv[i], "noack"))
            return 0;
    }
    return 0;
}

/* XREAD and XREADGROUP: as many keys as ids follow STREAMS. */
static int64_t keys_of_xread(const struct command *row, const struct slice *argv, uint32_t argc,
                             struct command_key *keys, uint32_t max)
{
    uint32_t begin = streams_begin(argv, argc);
    if (begin == 0 || begin >= argc || (argc - begin) % 2 != 0)
        return -1;
    int64_t found = 0;
    for (uint32_t i = begin; i < begin + (argc - begin) / 2; i++)
        found = add(keys, max, found, i, KEY_RO | KEY_ACCESS);
    return found;
}

/* MIGRATE host port key|"" ...: the key, or where that is empty those after KEYS. */
static int64_t keys_of_migrate(const struct command *row, const struct slice *argv, uint32_t argc,
                               struct command_key *keys, uint32_t max)
{
    uint32_t first = 3, end = 4;
    for (uint32_t i = 6; i < argc && argv[3].size == 0; i++) {
        if (slice_is(argv[i], "auth")) {
            i++;
        } else if (slice_is(argv[i], "auth2")) {
            i += 2;
        } else if (slice_is(argv[i], "keys")) {
            first = i + 1;
            end = argc;
            break;
        }
    }
    int64_t found = 0;
    for (uint32_t i = first; i < end; i++)
        found = add(keys, max, found, i, KEY_RW | KEY_ACCESS | KEY_DELETE);
    return found;
}

const struct command_parser *command_parser_of(const struct command *row)
{
    static const struct command_parser parsers[] = {
        {"sort", keys_of_sort},
        {"georadius", keys_of_georadius},
        {"georadiusbymember", keys_of_georadius},
        {"migrate", keys_of_migrate},
        {"xread", keys_of_xread},
        {"xreadgroup", keys_of_xread},
    };
    if (row->flags & CMD_PLAIN_KEYS)
        return NULL;
    for (uint32_t i = 0; i < sizeof(parsers) / sizeof(parsers[0]); i++)
        if (strcmp(row->name, parsers[i].name) == 0)
            return &parsers[i];
    return NULL;
}
