/* What the options on the process say: words for signals, out-of-memory values, the title. */
#include "server/process_words.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "server/config.h"
#include "server/cpus.h"

Test(process_words, shutdown_words_are_flags)
{
    unsigned flags = 99;
    cr_expect_null(process_parse_shutdown("default", &flags));
    cr_expect_eq(flags, 0);
    cr_expect_null(process_parse_shutdown("NOW  save force", &flags));
    cr_expect_eq(flags, (unsigned)(PROCESS_NOW | PROCESS_SAVE | PROCESS_FORCE));
}

Test(process_words, save_and_nosave_exclude_each_other)
{
    unsigned flags;
    cr_expect_str_eq(process_parse_shutdown("save nosave", &flags),
                     "shutdown options SAVE and NOSAVE can't be used simultaneously");
    cr_expect_not_null(process_parse_shutdown("later", &flags));
    cr_expect_not_null(process_parse_shutdown("", &flags));
}

Test(process_words, oom_values_are_three_within_bounds)
{
    int v[PROCESS_OOM_VALUES];
    cr_expect_null(process_parse_oom("-2000 0 2000", v));
    cr_expect(v[0] == -2000 && v[1] == 0 && v[2] == 2000);
    cr_expect_str_eq(process_parse_oom("1 2", v), "wrong number of arguments");
    cr_expect_str_eq(process_parse_oom("1 2 3 4", v), "wrong number of arguments");
    cr_expect_not_null(process_parse_oom("0 0 2001", v));
    cr_expect_not_null(process_parse_oom("0 x 1", v));
}

static const struct process_facts facts = {
    .title = "lasca", .address = "127.0.0.1", .unixsocket = "/run/s", .config_file = "/etc/l.conf",
    .port = 7000, .tls_port = 7001,
};

static void expect_title(const char *template, const struct process_facts *f, const char *title)
{
    struct buf b;
    buf_init(&b);
    cr_expect(process_expand_title(template, f, &b), "%s", template);
    cr_expect(slice_equal(buf_slice(&b), slice_of(title)), "%s: '%.*s'", template, (int)b.size,
              b.data);
    buf_deinit(&b);
}

Test(process_words, a_title_has_its_variables_filled_in)
{
    expect_title("{title} {listen-addr} {server-mode}", &facts, "lasca 127.0.0.1:7000");
    expect_title("{config-file} {port}/{tls-port} {unixsocket}", &facts,
                 "/etc/l.conf 7000/7001 /run/s");
    expect_title("  {{a} {title} ", &facts, "{a} lasca");
    struct process_facts bare = {.title = "x", .unixsocket = "/s"};
    expect_title("{listen-addr} {config-file}", &bare, "unixsocket:/s -");
    bare.tls_port = 1;
    expect_title("{listen-addr}", &bare, "*:1");
}

Test(process_words, a_title_that_is_none_is_refused)
{
    static const char *const bad[] = {"", " ", "{server-mode}", "{nothing}", "{title", "a {", "{}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b;
        buf_init(&b);
        cr_expect_not(process_expand_title(bad[i], &facts, &b), "'%s'", bad[i]);
        buf_deinit(&b);
    }
}

static uint64_t low_word(const char *list)
{
    struct cpus_mask mask;
    return cpus_parse_list(slice_of(list), &mask) ? mask.words[0] : 0;
}

Test(process_words, lists_of_cpus_are_masks)
{
    cr_expect_eq(low_word("0"), 1);
    cr_expect_eq(low_word("0-3,8"), 0x10f);
    cr_expect_eq(low_word("0-8:2"), 0x155);
    cr_expect_eq(low_word("1,1,63"), UINT64_C(1) << 63 | 2);
    struct cpus_mask mask;
    cr_expect(cpus_parse_list(slice_of("64-65"), &mask));
    cr_expect_eq(mask.words[1], 3);
}

Test(process_words, what_is_no_list_of_cpus_is_refused)
{
    static const char *const bad[] = {"", "x", "3-1", "0-", "-1", "0-4:0", "0,,1", "8192", "1 2",
                                      "0-18446744073709551615"};
    struct cpus_mask mask;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_not(cpus_parse_list(slice_of(bad[i]), &mask), "'%s'", bad[i]);
}

Test(process_words, every_option_is_in_the_manual_and_the_completion)
{
    struct buf manual, names, documented;
    buf_init(&manual);
    buf_init(&names);
    buf_init(&documented);
    config_write_manual(&manual);
    config_write_names(&names);
    config_write_documented(&documented);
    buf_append(&manual, "", 1);
    size_t count = 0;
    for (const char *at = names.data, *end = names.data + names.size; at < end; count++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        char item[128];
        snprintf(item, sizeof(item), "\n.It Ic %.*s", (int)strcspn(at, "-\t"), at);
        cr_assert(stop && memchr(at, '\t', (size_t)(stop - at)));
        cr_expect(strstr(manual.data, item), "%s", item);
        at = stop + 1;
    }
    size_t lines = 0;
    for (size_t i = 1; i < documented.size; i++)
        lines += documented.data[i - 1] == '\n' && documented.data[i] != '#' &&
                 documented.data[i] != '\n';
    cr_expect_eq(count, lines, "as many options as the documented file has");
    buf_deinit(&manual);
    buf_deinit(&names);
    buf_deinit(&documented);
}
