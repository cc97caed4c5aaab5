#include "server/syntax.h"

#include <criterion/criterion.h>

#include "proto/buf.h"

/* Writes a tree on one line: name, :type where not string, =TOKEN, #spec, flags ? * +,
 * (children). */
static void write_list(struct buf *to, const struct syntax_list *list)
{
    static const char *const types[] = {"", ":int", ":double", ":key", ":pattern", ":time",
                                        ":token", ":oneof", ":block"};
    for (uint32_t i = 0; i < list->count; i++) {
        const struct syntax_arg *arg = &list->args[i];
        buf_printf(to, "%s%s%s", i ? " " : "", arg->name, types[arg->type]);
        if (arg->token)
            buf_printf(to, "=%s", arg->token);
        if (arg->key_spec >= 0)
            buf_printf(to, "#%d", arg->key_spec);
        buf_append_text(to, arg->flags & SYNTAX_OPTIONAL ? "?" : "");
        buf_append_text(to, arg->flags & SYNTAX_MULTIPLE ? "*" : "");
        buf_append_text(to, arg->flags & SYNTAX_MULTIPLE_TOKEN ? "+" : "");
        if (arg->children.count) {
            buf_append_text(to, "(");
            write_list(to, &arg->children);
            buf_append_text(to, ")");
        }
    }
}

static void check_row(const struct command *row, const char *expected)
{
    struct syntax_list list;
    cr_assert(syntax_parse(row, &list), "%s", row->syntax);
    struct buf text;
    buf_init(&text);
    write_list(&text, &list);
    buf_append(&text, "", 1);
    cr_assert_str_eq(text.data, expected);
    buf_deinit(&text);
    syntax_deinit(&list);
}

static void check(const char *syntax, const char *expected)
{
    struct command row = {.name = "x", .group = "generic", .syntax = syntax, .keys = KEYS_ONE(0)};
    check_row(&row, expected);
}

Test(syntax, is_empty_without_arguments)
{
    check(NULL, "");
    check("", "");
}

Test(syntax, types_words_by_name)
{
    check("key", "key:key#0");
    check("cursor value score", "cursor:int value score:double");
    check("pattern by-pattern unix-time-seconds", "pattern:pattern by-pattern:pattern "
                                                  "unix-time-seconds:time");
}

Test(syntax, types_some_words_by_the_command)
{
    struct command row = {.name = "incrbyfloat", .group = "string", .syntax = "increment"};
    check_row(&row, "increment:double");
    row = (struct command){.name = "setbit", .group = "bitmap", .syntax = "offset value"};
    check_row(&row, "offset:int value:int");
    row = (struct command){.name = "xrange", .group = "stream", .syntax = "start end"};
    check_row(&row, "start end");
    row = (struct command){.name = "blpop", .group = "list", .flags = CMD_BLOCKING,
                           .syntax = "timeout"};
    check_row(&row, "timeout:double");
    row = (struct command){.name = "migrate", .group = "generic", .syntax = "key timeout"};
    check_row(&row, "key timeout:int");
}

Test(syntax, knows_tokens_by_their_capitals)
{
    check("[GET] [NX | XX]", "get:token=GET? condition:oneof?(nx:token=NX xx:token=XX)");
    check("<* | id>", "id-selector:oneof(auto-id:token=* id)");
    check("[BIT1]", "bit1:token=BIT1?");
}

Test(syntax, gives_a_token_the_argument_behind_it)
{
    check("[MATCH pattern] [COUNT count]", "pattern:pattern=MATCH? count:int=COUNT?");
    check("<EX seconds | PX milliseconds>",
          "expiration:oneof(seconds:int=EX milliseconds:int=PX)");
    check("[OVERFLOW <WRAP | SAT>]", "overflow:oneof=OVERFLOW?(wrap:token=WRAP sat:token=SAT)");
    check("[COUNT count [ANY]]", "count-any:block?(count:int=COUNT any:token=ANY?)");
}

Test(syntax, makes_a_block_of_a_token_with_several_arguments)
{
    check("[LIMIT offset count]", "limit:block=LIMIT?(offset:int count:int)");
    check("STREAMS key [key ...] id [id ...]", "streams:block=STREAMS(key:key#0* id*)");
    check("BYRADIUS radius <M | KM>",
          "byradius:block=BYRADIUS(radius:double unit:oneof(m:token=M km:token=KM))");
    check("[start end [BYTE | BIT]]",
          "range:block?(start:int end:int unit:oneof?(byte:token=BYTE bit:token=BIT))");
}

Test(syntax, repeats_what_stands_before)
{
    check("key [key ...]", "key:key#0*");
    check("[key [key ...]]", "key:key#0?*");
    check("key value [key value ...]", "data:block*(key:key#0 value)");
    check("key member [member ...] x", "key:key#0 member* x");
    check("[section ...]", "section?*");
}

Test(syntax, repeats_tokens_with_their_arguments)
{
    check("[PREFIX prefix [PREFIX prefix ...]]", "prefix=PREFIX?*+");
    check("[GET encoding offset [GET encoding offset ...]]",
          "get:block=GET?*+(encoding offset:int)");
}

Test(syntax, repeats_a_whole_choice)
{
    check("[GET type | SET <A | B> [GET type | SET <A|B> ...]]",
          "type-set:oneof?*(type=GET set:oneof=SET(a:token=A b:token=B))");
}

Test(syntax, numbers_keys_by_their_specs)
{
    struct command row = {
        .name = "bitop", .group = "bitmap", .syntax = "<AND | OR> destkey key [key ...]",
        .keys = {{.begin = 2, .find = KEY_FIND_RANGE, .step = 1},
                 {.begin = 3, .find = KEY_FIND_RANGE, .last = -1, .step = 1}}};
    check_row(&row, "operation:oneof(and:token=AND or:token=OR) destkey:key#0 key:key#1*");
    check("key1 key2 [LEN]", "key1:key#0 key2:key#0 len:token=LEN?");
    row = (struct command){.name = "keyslot", .group = "cluster", .syntax = "key"};
    check_row(&row, "key");
}

Test(syntax, reads_the_longest_texts)
{
    check("key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> "
          "field value [field value ...]",
          "key:key#0 nomkstream:token=NOMKSTREAM? trim:block?("
          "strategy:oneof(maxlen:token=MAXLEN minid:token=MINID) "
          "operator:oneof?(equal:token== approximately:token=~) threshold count:int=LIMIT?) "
          "id-selector:oneof(auto-id:token=* id) data:block*(field value)");
    check("[protover [AUTH username password] [SETNAME clientname]]",
          "arguments:block?(protover:int auth:block=AUTH?(username password) "
          "clientname=SETNAME?)");
}

Test(syntax, refuses_malformed_texts)
{
    const char *const texts[] = {
        "[", "]", "key [", "key ]", "[key>", "<key]", "[]", "<>", "a |", "| a", "[a | ]", "[| a]",
        "...", "key ...", "[...]", "[key ...", "[a ... b]", "a | b", "[[[[[[[[[[[[a]]]]]]]]]]]]",
        "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct command row = {.name = "x", .group = "generic", .syntax = texts[i]};
        struct syntax_list list;
        cr_assert_not(syntax_parse(&row, &list), "%s", texts[i]);
        cr_assert_eq(list.count, 0);
    }
}

Test(syntax, types_words_by_the_command)
{
    struct command row = {.name = "zrange", .group = "sorted-set", .syntax = "start stop"};
    check_row(&row, "start stop");
    row = (struct command){.name = "zcount", .group = "sorted-set", .syntax = "min max"};
    check_row(&row, "min:double max:double");
    row.name = "zlexcount";
    check_row(&row, "min max");
}
