/* Fuzzes config_parse: any bytes as a configuration file. What it accepts must survive two round
 * trips: each value that CONFIG GET prints, quoted and parsed again, prints the same; and the file
 * that CONFIG REWRITE makes of it says the same, its users and renamed commands included, and is
 * left as it is by another rewrite.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -DLASCA_SYSTEM_MALLOC -D_GNU_SOURCE -I. \
 *     test/fuzz/config_fuzz.c server/{config*,cgroup,machine}.c \
 *     proto/{buf,glob,mem,number}.c -lm (and what the rows' checks need) */
#include <stdlib.h>

#include "proto/mem.h"
#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_quoted(void *context, const char *name, const char *value)
{
    struct buf *text = context;
    buf_printf(text, "%s \"", name);
    for (const char *c = value; *c; c++)
        buf_printf(text, "\\x%02x", (unsigned char)*c);
    buf_append_text(text, "\"\n");
}

static void print_all(const struct config *c, struct buf *to)
{
    struct slice all = SLICE("*");
    buf_init(to);
    config_get(c, &all, 1, write_quoted, to);
}

static void check_round_trip(const struct config *c)
{
    struct config again;
    struct buf text, text_again;
    char error[CONFIG_ERROR_SIZE];
    config_init(&again);
    print_all(c, &text);
    if (!config_parse(&again, buf_slice(&text), "again", error, sizeof error))
        abort();
    print_all(&again, &text_again);
    if (!slice_equal(buf_slice(&text), buf_slice(&text_again)))
        abort();
    buf_deinit(&text);
    buf_deinit(&text_again);
    config_deinit(&again);
}

static void check_same_lines(const struct config *a, const struct config *b)
{
    if (a->rename_count != b->rename_count || a->user_count != b->user_count)
        abort();
    for (uint32_t i = 0; i < a->rename_count; i++) {
        if (strcmp(a->renames[i].from, b->renames[i].from) != 0 ||
            strcmp(a->renames[i].to, b->renames[i].to) != 0)
            abort();
    }
    for (uint32_t i = 0; i < a->user_count; i++) {
        if (strcmp(a->users[i], b->users[i]) != 0)
            abort();
    }
}

static void check_rewrite(const struct config *c, struct slice old)
{
    struct config again;
    struct buf users, text, second, values, values_again;
    char error[CONFIG_ERROR_SIZE];
    buf_init(&users);
    buf_init(&text);
    buf_init(&second);
    for (uint32_t i = 0; i < c->user_count; i++)
        buf_printf(&users, "%s\n", c->users[i]);
    config_rewrite_text(c, old, buf_slice(&users), old.size % 2, &text);
    config_init(&again);
    if (!config_parse(&again, buf_slice(&text), "again", error, sizeof error))
        abort();
    print_all(c, &values);
    print_all(&again, &values_again);
    if (!slice_equal(buf_slice(&values), buf_slice(&values_again)))
        abort();
    check_same_lines(c, &again);
    config_rewrite_text(&again, buf_slice(&text), buf_slice(&users), false, &second);
    if (!slice_equal(buf_slice(&text), buf_slice(&second)))
        abort();
    buf_deinit(&users);
    buf_deinit(&text);
    buf_deinit(&second);
    buf_deinit(&values);
    buf_deinit(&values_again);
    config_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    char error[CONFIG_ERROR_SIZE] = "";
    config_init(&c);
    struct slice text = {(const char *)data, size};
    if (config_parse(&c, text, "fuzz", error, sizeof error)) {
        check_round_trip(&c);
        check_rewrite(&c, text);
    } else if (strncmp(error, "fuzz:", 5) != 0) {
        abort();
    }
    config_deinit(&c);
    return 0;
}
