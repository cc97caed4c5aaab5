/* What the options on the process say, read from their texts: SHUTDOWN's words for signals, the
 * values of oom-score-adj, the template of the process's title. Nothing here touches the process;
 * the rows of config_rows_process.c check their values with this, and process.h acts by it. */
#pragma once

#include "proto/buf.h"
#include "proto/slice.h"

#define PROCESS_OOM_VALUES 3 /* as a master, as a replica, as a child */

/* shutdown-on-sigint and -sigterm: what a signal asks for; none of these: `default`. */
enum process_shutdown {
    PROCESS_SAVE = 1 << 0,
    PROCESS_NOSAVE = 1 << 1,
    PROCESS_NOW = 1 << 2,
    PROCESS_FORCE = 1 << 3,
};

/* Words with blanks between. NULL when well, else what is wrong, as Redis words it. */
const char *process_parse_shutdown(const char *text, unsigned *flags);
const char *process_parse_oom(const char *text, int values[PROCESS_OOM_VALUES]);

/* What the template's variables stand for. */
struct process_facts {
    const char *title;     /* what the program was called as */
    const char *address;   /* the first of bind, NULL: `*` */
    const char *unixsocket;
    const char *config_file; /* NULL: none */
    int64_t port, tls_port;
};

/* Appends the title, without blanks at its ends. False where the template is not well-formed, has a
 * variable that is not known, or says nothing. `{{` is a brace. */
bool process_expand_title(const char *template, const struct process_facts *facts,
                          struct buf *to);
