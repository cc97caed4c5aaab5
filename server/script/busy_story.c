/* What FUNCTION STATS tells of a script that runs for long: see busy.h.
 *
 * A copy of its command, since those who ask are other threads, and the script's own arguments go
 * when it has ended. */
#include <time.h>

#include "proto/mem.h"
#include "server/script/busy.h"
#include "server/server.h"

struct busy_story {
    bool is_function;
    int64_t started_us; /* monotonic */
    uint32_t argc;
    struct slice *argv; /* into `bytes` */
    struct slice name;
    struct buf bytes;
};

/* Fills `bytes`, which does not move any more once it has room for all. */
static struct slice copy(struct buf *bytes, struct slice s)
{
    struct slice to = {bytes->data + bytes->size, s.size};
    buf_append_slice(bytes, s);
    return to;
}

void busy_story_keep(struct busy_place *p, const struct script_run *r)
{
    struct busy_story *story = mem_alloc_zeroed(sizeof(*story));
    const struct call *call = r->call;
    size_t size = strlen(r->name);
    for (uint32_t i = 0; i < call->argc; i++)
        size += call->argv[i].size;
    buf_reserve(&story->bytes, size + 1);
    story->is_function = r->is_function;
    story->started_us = r->started_us;
    story->name = copy(&story->bytes, slice_of(r->name));
    story->argc = call->argc;
    story->argv = mem_alloc(call->argc * sizeof(*story->argv));
    for (uint32_t i = 0; i < call->argc; i++)
        story->argv[i] = copy(&story->bytes, call->argv[i]);
    pthread_mutex_lock(&server->busy->story_lock);
    p->story = story;
    pthread_mutex_unlock(&server->busy->story_lock);
}

void busy_story_drop(struct busy_place *p)
{
    pthread_mutex_lock(&server->busy->story_lock);
    struct busy_story *story = p->story;
    p->story = NULL;
    pthread_mutex_unlock(&server->busy->story_lock);
    mem_free(story->argv);
    buf_deinit(&story->bytes);
    mem_free(story);
}

static int64_t elapsed_ms(const struct busy_story *story)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return ((int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 - story->started_us) / 1000;
}

static void tell(const struct busy_story *story, struct reply *reply)
{
    reply_map(reply, 3);
    reply_bulk_text(reply, "name");
    reply_bulk(reply, story->name);
    reply_bulk_text(reply, "command");
    reply_array(reply, story->argc);
    for (uint32_t i = 0; i < story->argc; i++)
        reply_bulk(reply, story->argv[i]);
    reply_bulk_text(reply, "duration_ms");
    reply_integer(reply, elapsed_ms(story));
}

bool busy_tell_function(struct reply *reply)
{
    const struct busy_story *function = NULL, *other = NULL;
    pthread_mutex_lock(&server->busy->story_lock);
    for (uint32_t i = 0; i < server->busy->place_count; i++) {
        const struct busy_story *story = server->busy->places[i].story;
        if (story && story->is_function)
            function = story;
        else if (story)
            other = story;
    }
    if (function)
        tell(function, reply);
    pthread_mutex_unlock(&server->busy->story_lock);
    return function || !other;
}
