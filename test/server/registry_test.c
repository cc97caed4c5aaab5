#include "server/registry.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/mem.h"
#include "shard/call.h"

static void body(struct call *c)
{
}

#define ROW(word, count) \
    .name = word, .run = body, .arity = count, .group = "string", .since = "1.0.0"

static const struct command box_subcommands[] = {
    {ROW("list", 2), .flags = CMD_ADMIN},
    {ROW("getkeysandflags", -3), .route = ROUTE_KEY,
     .keys = {{.flags = KEY_RO, .begin = 2, .find = KEY_FIND_RANGE, .step = 1}}},
    {.name = NULL},
};

static const struct command first_table[] = {
    {ROW("get", 2), .route = ROUTE_KEY, .flags = CMD_READONLY | CMD_FAST, .acl = ACL_STRING,
     .keys = KEYS_ONE(KEY_RO | KEY_ACCESS), .syntax = "key", .complexity = "O(1)"},
    {ROW("mset", -3), .route = ROUTE_SPLIT, .flags = CMD_WRITE, .acl = ACL_STRING,
     .keys = KEYS_PAIRS(KEY_OW)},
    {ROW("del", -2), .route = ROUTE_SPLIT, .flags = CMD_WRITE, .keys = KEYS_ALL(KEY_RM)},
    {ROW("georadiusbymember_ro", -5), .flags = CMD_READONLY, .keys = KEYS_ONE(KEY_RO)},
    {ROW("georadiusbymember", -5), .flags = CMD_WRITE,
     .keys = {{.flags = KEY_RO, .begin = 1, .find = KEY_FIND_RANGE, .step = 1},
              {.flags = KEY_OW, .begin = 6, .keyword = "STORE", .find = KEY_FIND_RANGE,
               .step = 1}}},
    {ROW("zremrangebyscore", 4), .flags = CMD_WRITE, .keys = KEYS_ONE(KEY_RW)},
    {.name = NULL},
};

static const struct command second_table[] = {
    {.name = "box", .arity = -2, .group = "server", .subcommands = box_subcommands},
    {ROW("bitop", -4), .route = ROUTE_CROSS, .flags = CMD_WRITE, .syntax = "<AND | OR> destkey key",
     .keys = {{.flags = KEY_OW, .begin = 2, .find = KEY_FIND_RANGE, .step = 1},
              {.flags = KEY_RO, .begin = 3, .find = KEY_FIND_RANGE, .last = -1, .step = 1}}},
    {ROW("eval", -3), .flags = CMD_READONLY | CMD_BLOCKING, .acl = ACL_SCRIPTING,
     .keys = {{.flags = KEY_RW, .begin = 2, .find = KEY_FIND_COUNT, .first = 1, .step = 1}}},
    {ROW("xread", -4), .flags = CMD_READONLY,
     .keys = {{.flags = KEY_RO, .begin = 1, .keyword = "STREAMS", .find = KEY_FIND_RANGE,
               .last = -1, .step = 1, .limit = 2}}},
    {ROW("backward", -6), .flags = CMD_WRITE,
     .keys = {{.flags = KEY_RW, .begin = -2, .keyword = "KEYS", .find = KEY_FIND_RANGE,
               .last = -1, .step = 1}}},
    {ROW("spublish", 3), .flags = CMD_PUBSUB, .keys = KEYS_ONE(KEY_NOT_KEY)},
    {ROW("sort", -2), .flags = CMD_WRITE, .keys = KEYS_ONE(KEY_RO | KEY_INCOMPLETE)},
    {ROW("q", 1)},
    {.name = NULL},
};

static struct registry *create(void)
{
    const struct command *const tables[] = {first_table, second_table};
    return registry_create_from(tables, 2);
}

static const struct command *find(const struct registry *r, const char *name)
{
    return registry_find(r, slice_of(name));
}

Test(registry, finds_a_command_in_any_case)
{
    struct registry *r = create();
    const char *const spellings[] = {"get", "GET", "Get", "gEt"};
    for (int i = 0; i < 4; i++)
        cr_assert_eq(find(r, spellings[i]), registry_at(r, 0));
    cr_assert_str_eq(find(r, "ZRemRangeByScore")->name, "zremrangebyscore");
    cr_assert_str_eq(find(r, "Q")->name, "q");
    registry_destroy(r);
}

Test(registry, finds_every_row_that_was_given)
{
    struct registry *r = create();
    for (uint32_t i = 0; i < registry_top_count(r); i++)
        cr_assert_eq(find(r, registry_top_at(r, i)->name), registry_top_at(r, i));
    for (uint32_t id = 0; id < registry_count(r); id++) {
        const struct command *row = registry_at(r, id);
        cr_assert_eq(row->id, id);
        cr_assert_eq(registry_find_full(r, slice_of(row->full_name)), row);
    }
    cr_assert_eq(registry_top_count(r), 14);
    cr_assert_eq(registry_count(r), 16);
    registry_destroy(r);
}

Test(registry, tells_names_apart_that_share_both_ends)
{
    struct registry *r = create();
    cr_assert_str_eq(find(r, "GEORADIUSBYMEMBER_RO")->name, "georadiusbymember_ro");
    cr_assert_null(find(r, "georadiusXYmember_ro"));
    cr_assert_str_eq(find(r, "georadiusbymember")->name, "georadiusbymember");
    registry_destroy(r);
}

Test(registry, knows_no_other_name)
{
    struct registry *r = create();
    const char *const names[] = {
        "", "g", "ge", "gett", "ge\x14", "gets", "mse", "\xc7\xc5\xd4", "zremrangebyscor",
        "zremrangebyscore1", "georadiusbymember_rw", "list", "box|list", "@`[{",
        "a name that is longer than any command's could be",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        cr_assert_null(find(r, names[i]), "%s", names[i]);
    cr_assert_null(registry_find(r, (struct slice){"get\0", 4}));
    cr_assert_null(registry_find(r, (struct slice){"ge\0", 3}));
    registry_destroy(r);
}

/* Only letters have two cases: a byte that differs from one by the same bit is another byte. */
Test(registry, folds_the_case_of_letters_only)
{
    static const struct command table[] = {{ROW("a[@`{z", 1)}, {.name = NULL}};
    const struct command *const tables[] = {table};
    struct registry *r = registry_create_from(tables, 1);
    cr_assert_not_null(find(r, "A[@`{Z"));
    cr_assert_null(find(r, "a{@`{z"));
    cr_assert_null(find(r, "a[``{z"));
    cr_assert_null(find(r, "a[@`[z"));
    cr_assert_null(find(r, "\xe1[@`{z"));
    cr_assert_null(find(r, "\xc1[@`{z"));
    registry_destroy(r);
}

/* The name is the end of its memory: look-up must not read past it. */
Test(registry, reads_no_byte_past_the_name)
{
    struct registry *r = create();
    const char *const names[] = {"q", "no", "get", "mset", "bitop", "backward", "spublish"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t n = strlen(names[i]);
        char *exact = mem_alloc(n);
        memcpy(exact, names[i], n);
        cr_assert_eq(registry_find(r, (struct slice){exact, n}) != NULL, i != 1);
        mem_free(exact);
    }
    registry_destroy(r);
}

Test(registry, copies_rows_and_names_them_in_full)
{
    struct registry *r = create();
    cr_assert_neq(find(r, "get"), &first_table[0]);
    cr_assert_str_eq(find(r, "get")->full_name, "get");
    const struct command *box = find(r, "box");
    cr_assert_eq(box->subcommand_count, 2);
    cr_assert_null(box->parent);
    cr_assert_neq(box->subcommands, box_subcommands);
    cr_assert_str_eq(box->subcommands[1].full_name, "box|getkeysandflags");
    cr_assert_eq(box->subcommands[1].parent, box);
    cr_assert_null(box->subcommands[2].name, "the run of subcommands must still end");
    registry_destroy(r);
}

Test(registry, finds_by_full_name_strictly)
{
    struct registry *r = create();
    const char *const unknown[] = {"", "|", "box|", "|list", "box|none", "box|list|x", "get|x",
                                   "get|", "none|list"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        cr_assert_null(registry_find_full(r, slice_of(unknown[i])), "%s", unknown[i]);
    cr_assert_str_eq(registry_find_full(r, SLICE("BOX|List"))->name, "list");
    cr_assert_null(registry_find_sub(r, find(r, "get"), SLICE("list")));
    registry_destroy(r);
}

Test(registry, resolves_a_request_to_its_subcommand)
{
    struct registry *r = create();
    const struct slice argv[] = {SLICE("BOX"), SLICE("LIST"), SLICE("x")};
    cr_assert_str_eq(registry_resolve(r, argv, 3)->full_name, "box|list");
    cr_assert_str_eq(registry_resolve(r, argv, 1)->full_name, "box");
    const struct slice unknown[] = {SLICE("BOX"), SLICE("NONE")};
    cr_assert_str_eq(registry_resolve(r, unknown, 2)->full_name, "box");
    const struct slice plain[] = {SLICE("GET"), SLICE("LIST")};
    cr_assert_str_eq(registry_resolve(r, plain, 2)->full_name, "get");
    cr_assert_null(registry_resolve(r, &unknown[1], 1));
    registry_destroy(r);
}

Test(registry, adds_the_categories_that_flags_imply)
{
    struct registry *r = create();
    cr_assert_eq(find(r, "get")->acl, ACL_STRING | ACL_READ | ACL_FAST);
    cr_assert_eq(find(r, "mset")->acl, ACL_STRING | ACL_WRITE | ACL_SLOW);
    cr_assert_eq(find(r, "spublish")->acl, ACL_PUBSUB | ACL_SLOW);
    cr_assert_eq(find(r, "eval")->acl, ACL_SCRIPTING | ACL_BLOCKING | ACL_SLOW,
                 "a script runner is no reader");
    cr_assert_eq(registry_find_full(r, SLICE("box|list"))->acl,
                 ACL_ADMIN | ACL_DANGEROUS | ACL_SLOW);
    registry_destroy(r);
}

static void check_triple(const struct registry *r, const char *name, int first, int last, int step,
                         bool movable, bool plain)
{
    const struct command *row = find(r, name);
    cr_assert_eq(row->first_key, first, "%s", name);
    cr_assert_eq(row->last_key, last, "%s", name);
    cr_assert_eq(row->key_step, step, "%s", name);
    cr_assert_eq((row->flags & CMD_MOVABLE_KEYS) != 0, movable, "%s", name);
    cr_assert_eq((row->flags & CMD_PLAIN_KEYS) != 0, plain, "%s", name);
}

Test(registry, says_keys_as_a_triple_where_it_can)
{
    struct registry *r = create();
    check_triple(r, "get", 1, 1, 1, false, true);
    check_triple(r, "mset", 1, -1, 2, false, true);
    check_triple(r, "bitop", 2, -1, 1, false, true);
    check_triple(r, "georadiusbymember", 1, 1, 1, true, false);
    check_triple(r, "eval", 0, 0, 0, true, false);
    check_triple(r, "xread", 0, 0, 0, true, false);
    check_triple(r, "spublish", 1, 1, 1, false, false);
    check_triple(r, "sort", 1, 1, 1, true, false);
    check_triple(r, "q", 0, 0, 0, false, false);
    registry_destroy(r);
}

/* Splits a line at blanks and says the keys' positions as text, "-1" for a misfit. */
static const char *keys_of(const struct registry *r, const char *line)
{
    static char text[256];
    static char words[256];
    struct slice argv[16];
    uint32_t argc = 0;
    strcpy(words, line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = slice_of(w);
    struct command_key keys[16];
    int64_t count = command_keys(registry_resolve(r, argv, argc), argv, argc, keys, 16);
    cr_assert_eq(command_keys(registry_resolve(r, argv, argc), argv, argc, NULL, 0), count);
    text[0] = 0;
    if (count < 0)
        return "-1";
    for (int64_t i = 0; i < count; i++)
        sprintf(text + strlen(text), i ? " %u" : "%u", keys[i].arg);
    return text;
}

Test(command_keys, follows_ranges)
{
    struct registry *r = create();
    cr_assert_str_eq(keys_of(r, "get a"), "1");
    cr_assert_str_eq(keys_of(r, "del a b c"), "1 2 3");
    cr_assert_str_eq(keys_of(r, "mset a 1 b 2"), "1 3");
    cr_assert_str_eq(keys_of(r, "mset a 1 b"), "1 3");
    cr_assert_str_eq(keys_of(r, "bitop and d a b"), "2 3 4");
    cr_assert_str_eq(keys_of(r, "bitop and d"), "-1");
    cr_assert_str_eq(keys_of(r, "box getkeysandflags k v"), "2");
    registry_destroy(r);
}

Test(command_keys, follows_counts)
{
    struct registry *r = create();
    cr_assert_str_eq(keys_of(r, "eval s 2 a b c"), "3 4");
    cr_assert_str_eq(keys_of(r, "eval s 0"), "");
    cr_assert_str_eq(keys_of(r, "eval s 0 x"), "");
    cr_assert_str_eq(keys_of(r, "eval s 2 a"), "-1");
    cr_assert_str_eq(keys_of(r, "eval s -1 a"), "-1");
    cr_assert_str_eq(keys_of(r, "eval s one a"), "-1");
    cr_assert_str_eq(keys_of(r, "eval s 9223372036854775807 a"), "-1");
    cr_assert_str_eq(keys_of(r, "eval s"), "-1");
    registry_destroy(r);
}

Test(command_keys, follows_keywords_from_either_end)
{
    struct registry *r = create();
    cr_assert_str_eq(keys_of(r, "xread count 2 streams a b 0 0"), "4 5");
    cr_assert_str_eq(keys_of(r, "xread streams a 0"), "2");
    cr_assert_str_eq(keys_of(r, "xread streams a b 0"), "-1");
    cr_assert_str_eq(keys_of(r, "xread streams a"), "-1");
    cr_assert_str_eq(keys_of(r, "xread count 2 a 0"), "-1");
    cr_assert_str_eq(keys_of(r, "xread count 2 streams"), "-1");
    cr_assert_str_eq(keys_of(r, "backward h p x 0 t KEYS a b"), "7 8");
    cr_assert_str_eq(keys_of(r, "backward h p x 0 t COPY"), "");
    cr_assert_str_eq(keys_of(r, "georadiusbymember k m 1 km store d"), "1 6");
    cr_assert_str_eq(keys_of(r, "georadiusbymember k m 1 km asc store d"), "1 7");
    registry_destroy(r);
}

Test(command_keys, says_the_flags_of_each_keys_spec)
{
    struct registry *r = create();
    const struct slice argv[] = {SLICE("bitop"), SLICE("and"), SLICE("d"), SLICE("a")};
    struct command_key keys[2];
    cr_assert_eq(command_keys(find(r, "bitop"), argv, 4, keys, 2), 2);
    cr_assert_eq(keys[0].flags, KEY_OW);
    cr_assert_eq(keys[1].flags, KEY_RO);
    registry_destroy(r);
}

static uint32_t flags_of(const char *name, const char *options)
{
    struct command row = {.name = name, .keys = KEYS_ONE(KEY_RW | KEY_DELETE | KEY_VARIABLE_FLAGS)};
    static char words[128];
    struct slice argv[16] = {slice_of(name), SLICE("k")};
    uint32_t argc = 2;
    strcpy(words, options);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " "))
        argv[argc++] = slice_of(w);
    struct command_key key;
    cr_assert_eq(command_keys(&row, argv, argc, &key, 1), 1);
    return key.flags;
}

Test(command_keys, settles_flags_that_depend_on_the_arguments)
{
    uint32_t reads = KEY_RO | KEY_ACCESS, writes = KEY_OW | KEY_UPDATE;
    uint32_t both = KEY_RW | KEY_ACCESS | KEY_UPDATE;
    cr_assert_eq(flags_of("set", "v"), writes);
    cr_assert_eq(flags_of("set", "get"), writes, "a value is no option");
    cr_assert_eq(flags_of("set", "v NX Get"), both);
    cr_assert_eq(flags_of("bitfield", ""), reads);
    cr_assert_eq(flags_of("bitfield", "get u8 0 GET u8 8"), reads);
    cr_assert_eq(flags_of("bitfield", "GET u8 0 SET u8 0 1"), both);
    cr_assert_eq(flags_of("bitfield", "OVERFLOW sat GET u8 0"), reads);
    cr_assert_eq(flags_of("bitfield", "GET u8"), both);
    cr_assert_eq(flags_of("bitfield", "OVERFLOW"), both);
    cr_assert_eq(flags_of("other", "v"), KEY_RW | KEY_DELETE | KEY_VARIABLE_FLAGS);
}

Test(command_keys, counts_more_keys_than_it_was_given_room_for)
{
    struct registry *r = create();
    const struct slice argv[] = {SLICE("del"), SLICE("a"), SLICE("b"), SLICE("c")};
    struct command_key keys[2] = {{0, 0}, {7, 7}};
    cr_assert_eq(command_keys(find(r, "del"), argv, 4, keys, 1), 3);
    cr_assert_eq(keys[0].arg, 1);
    cr_assert_eq(keys[1].arg, 7);
    registry_destroy(r);
}

Test(command_keys, holds_channels_for_no_keys)
{
    struct registry *r = create();
    cr_assert_str_eq(keys_of(r, "spublish c m"), "");
    cr_assert_not(command_has_keys(find(r, "spublish")));
    cr_assert_not(command_has_keys(find(r, "q")));
    cr_assert(command_has_keys(find(r, "xread")));
    registry_destroy(r);
}

Test(command_may_block, heeds_the_option_where_the_row_needs_one)
{
    const struct slice with[] = {SLICE("x"), SLICE("count"), SLICE("1"), SLICE("BLOCK"),
                                 SLICE("5")};
    struct command row = {.flags = CMD_WRITE | CMD_BLOCK_OPTION};
    cr_expect_not(command_may_block(&row, with, 5));
    row.flags |= CMD_BLOCKING;
    cr_expect(command_may_block(&row, with, 5));
    cr_expect_not(command_may_block(&row, with, 3));
    row.flags = CMD_BLOCKING;
    cr_expect(command_may_block(&row, with, 3));
}

Test(command_key_range, agrees_with_the_specs_of_plain_rows)
{
    struct registry *r = create();
    struct slice argv[7];
    for (int i = 0; i < 7; i++)
        argv[i] = SLICE("1");
    for (uint32_t id = 0; id < registry_count(r); id++) {
        const struct command *row = registry_at(r, id);
        uint32_t least = (uint32_t)(row->arity < 0 ? -row->arity : row->arity);
        uint32_t most = row->arity < 0 ? 7 : least;
        for (uint32_t argc = least; argc <= most; argc++) {
            struct key_range range;
            if (!command_key_range(row, argc, &range))
                continue;
            struct command_key keys[8];
            int64_t count = command_keys(row, argv, argc, keys, 8), n = 0;
            for (uint32_t i = range.first; i < range.end; i += range.step, n++)
                cr_assert_eq(keys[n].arg, i, "%s", row->full_name);
            cr_assert_eq(n, count, "%s", row->full_name);
        }
    }
    registry_destroy(r);
}

Test(documentation, lists_commands_by_group_and_name)
{
    struct registry *r = create();
    struct buf page;
    buf_init(&page);
    registry_write_documentation(r, &page);
    buf_append(&page, "", 1);
    const char *line = strstr(page.data, "| `GET` | `key` | one shard | O(1) | 1.0.0 |\n");
    cr_assert_not_null(line);
    const char *server = strstr(page.data, "\n## Server\n");
    const char *string = strstr(page.data, "\n## String\n");
    cr_assert(!server || server < string);
    cr_assert(string < line);
    cr_assert_not_null(strstr(page.data, "| `BOX LIST` |"));
    cr_assert_null(strstr(page.data, "| `BOX` |"), "a bare container does nothing");
    cr_assert_not_null(strstr(page.data, "`<AND \\| OR> destkey key`"));
    cr_assert(strstr(page.data, "| `BITOP` ") < strstr(page.data, "| `DEL` "));
    buf_deinit(&page);
    registry_destroy(r);
}

static const char *rename_to(struct registry *r, const char *from, const char *to)
{
    const char *why = NULL;
    return registry_rename(r, slice_of(from), slice_of(to), &why) ? NULL : why;
}

Test(rename, gives_a_command_another_name)
{
    struct registry *r = create();
    const struct command *get = find(r, "get"), *box = find(r, "box");
    cr_assert_null(rename_to(r, "GET", "Fetch"));
    cr_assert_null(rename_to(r, "box", "chest"));
    cr_assert_null(find(r, "get"));
    cr_assert_eq(find(r, "FETCH"), get);
    cr_assert_str_eq(get->name, "get");
    cr_assert_eq(registry_find_full(r, SLICE("chest|list"))->parent, box);
    cr_assert_null(registry_find_full(r, SLICE("box|list")));
    const struct command *list = registry_find_full(r, SLICE("chest|list"));
    cr_assert(get->flags & CMD_RENAMED && list->flags & CMD_RENAMED);
    cr_assert_not(find(r, "mset")->flags & CMD_RENAMED);
    cr_assert(slice_is(command_proper_name(list), "box"));
    registry_destroy(r);
}

Test(rename, takes_a_command_away)
{
    struct registry *r = create();
    uint32_t count = registry_top_count(r);
    const struct command *get = find(r, "get");
    cr_assert_null(rename_to(r, "get", ""));
    cr_assert_null(find(r, "get"));
    cr_assert_not(registry_is_listed(r, get));
    cr_assert_eq(registry_top_count(r), count - 1);
    for (uint32_t i = 0; i < count - 1; i++)
        cr_assert_neq(registry_top_at(r, i), get);
    cr_assert_eq(registry_find_proper(r, SLICE("get")), get);
    registry_destroy(r);
}

Test(rename, finds_names_of_any_length)
{
    char name[600], present[600] = "get";
    struct registry *r = create();
    const struct command *get = find(r, "get");
    for (size_t size = 1; size < sizeof name - 1; size += size < 40 ? 1 : 97) {
        memset(name, 'n', size);
        name[size] = '\0';
        cr_assert_null(rename_to(r, present, name), "%zu", size);
        cr_assert_null(find(r, present));
        memset(name, 'N', size);
        cr_assert_eq(find(r, name), get);
        strcpy(present, name);
        name[size - 1] = 'm';
        cr_assert_null(find(r, name));
    }
    registry_destroy(r);
}

Test(rename, long_and_short_names_side_by_side)
{
    struct registry *r = create();
    const struct command *get = find(r, "get"), *del = find(r, "del");
    cr_assert_null(rename_to(r, "get", "b840fc02d524045429941cc15f59e41cb7be6c52"));
    cr_assert_null(rename_to(r, "del", "d2"));
    cr_assert_null(rename_to(r, "mset", ""));
    cr_assert_eq(find(r, "d2"), del);
    cr_assert_eq(find(r, "B840FC02d524045429941cc15f59e41cb7be6c52"), get);
    cr_assert_null(find(r, "mset"));
    cr_assert_str_eq(rename_to(r, "d2", "b840fc02d524045429941cc15f59e41cb7be6c52"),
                     "Target command name already exists");
    registry_destroy(r);
}

Test(rename, keeps_what_rows_are_called_themselves)
{
    struct registry *r = create();
    const struct command *get = find(r, "get"), *del = find(r, "del");
    cr_assert_null(rename_to(r, "get", "x"));
    cr_assert_null(rename_to(r, "del", "get"));
    cr_assert_eq(find(r, "get"), del);
    cr_assert_eq(registry_find_proper(r, SLICE("get")), get);
    cr_assert_eq(registry_find_proper(r, SLICE("del")), del);
    cr_assert_null(registry_find_proper(r, SLICE("x")), "a name that it was given");
    struct slice argv[] = {SLICE("get"), SLICE("k")};
    cr_assert_eq(registry_resolve(r, argv, 2), del);
    cr_assert_eq(registry_resolve_proper(r, argv, 2), get);
    argv[0] = SLICE("x");
    cr_assert_eq(registry_resolve_proper(r, argv, 2), get);
    registry_destroy(r);
}

Test(rename, refuses_in_the_words_of_redis)
{
    struct registry *r = create();
    cr_assert_str_eq(rename_to(r, "nope", "x"), "No such command in rename-command");
    cr_assert_str_eq(rename_to(r, "box|list", "x"), "No such command in rename-command");
    cr_assert_str_eq(rename_to(r, "get", "DEL"), "Target command name already exists");
    cr_assert_null(rename_to(r, "del", ""));
    cr_assert_null(rename_to(r, "get", "del"), "that name is free");
    registry_destroy(r);
}
