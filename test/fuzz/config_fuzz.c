/* Fuzzes config_parse: any bytes as a configuration file. What it accepts must survive a round
 * trip: each value that CONFIG GET prints, quoted and parsed again, prints the same.
 *
 * clang -g -O1 -fsanitize=fuzzer,address,undefined -DLASCA_SYSTEM_MALLOC -D_GNU_SOURCE -I. \
 *     test/fuzz/config_fuzz.c server/config*.c proto/{buf,glob,mem,number}.c -lm */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    char error[CONFIG_ERROR_SIZE] = "";
    config_init(&c);
    struct slice text = {(const char *)data, size};
    if (config_parse(&c, text, "fuzz", error, sizeof error))
        check_round_trip(&c);
    else if (strncmp(error, "fuzz:", 5) != 0)
        abort();
    config_deinit(&c);
    return 0;
}
