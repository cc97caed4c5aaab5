/* The server's own transactions: see stand.h. */
#include "server/persist/stand.h"

#include <assert.h>

#include "server/bundle.h"
#include "server/persist/save_inside.h"
#include "server/server.h"

/* In the place of the bundle's item, on whatever core runs it. */
static void run_for(struct core *c, struct shard *const *shards, void *context)
{
    struct save *s = server->save;
    s->stand_run(c, shards, s->stand_context);
    s->stand_over = true; /* core 0 stands still: it sees this when it goes on */
    save_call_core_0();
}

bool stand_publish(struct core *c, stand_run *run, void *context)
{
    struct save *s = server->save;
    assert(c->index == 0);
    if (s->stand)
        return false;
    s->stand = true;
    s->stand_run = run;
    s->stand_context = context;
    s->stand_over = false;
    bundle_dispatch(c, bundle_create_act(c, run_for, NULL));
    return true;
}

void stand_want(stand_run *run, void *context)
{
    struct save *s = server->save;
    assert(!s->wanted_run);
    s->wanted_run = run;
    s->wanted_context = context;
    save_call_core_0();
}

void stand_settle(struct core *c)
{
    struct save *s = server->save;
    if (s->stand && s->stand_over)
        s->stand = false;
    if (s->wanted_run && stand_publish(c, s->wanted_run, s->wanted_context))
        s->wanted_run = NULL;
}

bool stand_under_way(void)
{
    return server->save->stand;
}

void stand_hold_clients(void)
{
    struct save *s = server->save;
    if (s->holds++)
        return;
    s->pause_before_ms = server->pause_until_ms;
    s->pause_all_before = server->pause_all;
    server->pause_until_ms = INT64_MAX;
    server->pause_all = true;
}

void stand_release_clients(void)
{
    struct save *s = server->save;
    assert(s->holds > 0);
    if (--s->holds)
        return;
    server->pause_until_ms = s->pause_before_ms;
    server->pause_all = s->pause_all_before;
    for (uint32_t i = 0; i < server->core_count; i++)
        server->cores[i]->next_cron_us = 0; /* which lets them go on */
}
