/* DEBUG's ways to end the server, for tests of crash reports and of what watches over servers; and
 * the sizes of structures, for who reads such a report. */
#include <assert.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "server/bundle.h"
#include "server/cmd/debug.h"
#include "server/server.h"
#include "server/session.h"
#include "shard/type/entry.h"

void debug_assert(struct call *c)
{
    (void)c;
    bool asked_to_fail = true;
    assert(!asked_to_fail);
}

/* More than any machine has: the allocator says so, and the process ends. */
void debug_oom(struct call *c)
{
    char *p = mem_alloc(SIZE_MAX / 4);
    *(volatile char *)p = 0;
    mem_free(p);
    reply_ok(&c->reply);
}

void debug_panic(struct call *c)
{
    (void)c;
    log_write(&server->log, LOG_WARNING, "DEBUG PANIC called, the server ends");
    abort();
}

void debug_segfault(struct call *c)
{
    (void)c;
    volatile char *volatile nowhere = (char *)UINTPTR_MAX;
    *nowhere = 'x';
}

void debug_structsize(struct call *c)
{
    struct buf text;
    buf_init(&text);
    buf_printf(&text, "bits:%zu session:%zu bundle:%zu core:%zu shard:%zu db:%zu entry:%zu",
               8 * sizeof(void *), sizeof(struct session), sizeof(struct bundle),
               sizeof(struct core), sizeof(struct shard), sizeof(struct db),
               sizeof(struct entry));
    buf_append(&text, "", 1);
    reply_simple(&c->reply, text.data);
    buf_deinit(&text);
}
