/* What assert(3) calls, in place of the C library's: the report has the assertion's text even where
 * standard error goes nowhere. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/crash_inside.h"
#include "server/server.h"

void __assert_fail(const char *text, const char *file, unsigned line, const char *function)
{
    if (server && server->crash)
        server->crash->assertion = (struct crash_assertion){text, file, line};
    fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, text);
    abort();
}
