/* What the files with rows of the option table share: config_options.c and config_rows_*.c. */
#pragma once

#include "server/config_option.h"

/* The offset of a field, after a check that it has the type its row's kind will store. */
#define FIELD(member, kind)                                                                        \
    (offsetof(struct config, member) +                                                             \
     0 * sizeof(char[__builtin_types_compatible_p(                                                 \
                         __typeof__(((struct config *)0)->member), kind) ? 1 : -1]))

#define BOOL_FIELD(member) OPTION_BOOL, FIELD(member, bool)
#define INTEGER_FIELD(member) OPTION_INTEGER, FIELD(member, int64_t)
#define MEMORY_FIELD(member) OPTION_MEMORY, FIELD(member, int64_t)
#define ENUM_FIELD(member) OPTION_ENUM, FIELD(member, int)
#define STRING_FIELD(member) OPTION_STRING, FIELD(member, char *)
#define BYTES_FIELD(member) OPTION_BYTES, FIELD(member, struct config_bytes)

#define MB (INT64_C(1) << 20)

/* A part of the table, in the documented file's order. */
struct config_rows {
    const struct config_option *rows;
    uint32_t count;
};

#define CONFIG_ROWS(array) {(array), sizeof(array) / sizeof((array)[0])}

extern const struct config_rows config_rows_tls;     /* TLS */
extern const struct config_rows config_rows_access;  /* users and permissions */
extern const struct config_rows config_rows_watch;   /* slow log, latency, metrics */
extern const struct config_rows config_rows_process; /* how the process runs */
extern const struct config_rows config_rows_inert;   /* known, and without effect here */
