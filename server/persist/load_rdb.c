/* Loading RDB files: the loader finds where each record begins and ends and hands it to the core of
 * its key's shard, which makes the value and inserts it. A batch points into the buffer of the file
 * that its records lie in, so nothing is copied but into the keyspace itself. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/bundle.h"
#include "server/persist/load_inside.h"
#include "server/persist/rdb_walk.h"
#include "server/script/function_load.h"
#include "server/server.h"

/* A batch with so many bytes goes out, however few its records. */
#define BATCH_BYTES_MAX ((size_t)256 * 1024)
/* Records inserted between two looks at the clock. */
#define INSERT_STEP 64
/* Empty collections that the log names. */
#define EMPTY_NAMED 10
#define KEY_SHOWN_MAX 128

/* --- The loader --- */

static void hand_out_open(struct load *l, uint32_t core)
{
    struct load_batch *b = l->open[core];
    l->open[core] = NULL;
    if (b)
        load_hand_out(l, core, b);
}

/* The file goes on in another buffer. */
static void hand_out_all(void *context)
{
    for (uint32_t i = 0; i < server->core_count; i++)
        hand_out_open(context, i);
}

static void add_record(struct load *l, const struct rdb_walk *w, const struct rdb_item *item)
{
    uint32_t core = keyspace_shard(&server->keyspace, item->key);
    struct load_batch *b = l->open[core];
    if (!b)
        b = l->open[core] = load_batch_create(LOAD_RECORDS, LOAD_RECORDS_MAX, w->file->buffer);
    b->records[b->count++] = (struct rdb_record){
        .at = item->record.data, .size = item->record.size, .offset = w->item_offset,
        .expires_ms = item->expires_ms, .idle_s = item->idle_s, .db = item->db,
        .frequency = item->frequency, .type = item->type,
    };
    b->bytes += item->record.size;
    l->records++;
    if (b->count == LOAD_RECORDS_MAX || b->bytes >= BATCH_BYTES_MAX)
        hand_out_open(l, core);
}

static void add_function(struct load *l, const struct rdb_item *item)
{
    struct load_batch *b = load_batch_create(LOAD_FUNCTION, 0, NULL);
    buf_append_slice(&b->code, item->value);
    load_hand_out(l, 0, b);
}

static void tell_aux(struct load *l, const struct rdb_item *item)
{
    int64_t n = 0;
    int size = (int)(item->value.size < KEY_SHOWN_MAX ? item->value.size : KEY_SHOWN_MAX);
    bool number = number_parse_integer(item->value, &n);
    if (slice_is(item->key, "redis-ver"))
        log_write(&server->log, LOG_NOTICE, "Loading RDB produced by version %.*s", size,
                  item->value.data);
    else if (slice_is(item->key, "ctime") && number)
        log_write(&server->log, LOG_NOTICE, "RDB age %" PRId64 " seconds",
                  (int64_t)time(NULL) > n ? (int64_t)time(NULL) - n : 0);
    else if (slice_is(item->key, "used-mem") && number) {
        log_write(&server->log, LOG_NOTICE, "RDB memory usage when created %.2f Mb",
                  (double)n / (1024 * 1024));
        atomic_store_explicit(&l->used_memory, (uint64_t)n, memory_order_relaxed);
    } else if (slice_is(item->key, "aof-base") && number && n)
        log_write(&server->log, LOG_NOTICE, "RDB is base AOF");
}

static void tell_end(struct load *l, const struct rdb_walk *w)
{
    if (w->unsummed && l->verify)
        log_write(&server->log, LOG_NOTICE,
                  "RDB file was saved with checksum disabled: no check performed.");
    uint64_t empty = atomic_load_explicit(&l->keys_empty, memory_order_relaxed);
    char more[64] = "";
    if (empty)
        snprintf(more, sizeof(more), ", empty keys skipped: %" PRIu64, empty);
    log_write(&server->log, LOG_NOTICE,
              "Done loading RDB, keys loaded: %" PRIu64 ", keys expired: %" PRIu64 "%s.",
              atomic_load_explicit(&l->keys_loaded, memory_order_relaxed),
              atomic_load_explicit(&l->keys_expired, memory_order_relaxed), more);
}

static void fail_at(struct load *l, uint64_t offset, const char *error)
{
    load_fail(l, "Cannot load %s: %s, at offset %" PRIu64 ". Look at it with 'lasca-check-rdb %s'",
              l->path, error, offset, l->path);
}

/* True while there is more. */
static bool take_item(struct load *l, struct rdb_walk *w)
{
    struct rdb_item item;
    switch (rdb_walk_next(w, &item)) {
    case RDB_ITEM_RECORD:
        add_record(l, w, &item);
        load_progress(l, w->file);
        return true;
    case RDB_ITEM_FUNCTION:
        add_function(l, &item);
        return true;
    case RDB_ITEM_AUX:
        tell_aux(l, &item);
        return true;
    case RDB_ITEM_SELECT:
        return true;
    case RDB_ITEM_MODULE:
        log_write(&server->log, LOG_WARNING,
                  "The RDB file has data of a module about all of the file: left out");
        return true;
    case RDB_ITEM_FAILED:
        fail_at(l, w->error_offset, w->error);
        return false;
    case RDB_ITEM_END:
        return false;
    }
    return false;
}

bool load_rdb(struct load *l, struct load_file *f, bool base)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* Commands that come behind it may give a key that has expired another time. */
    l->now_ms = base ? 0 : (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    struct rdb_walk w;
    f->leaves = hand_out_all;
    f->context = l;
    if (!rdb_walk_begin(&w, f, l->verify))
        fail_at(l, w.error_offset, w.error);
    w.db_count = server->keyspace.db_count;
    while (!load_is_over(l) && take_item(l, &w))
        continue;
    hand_out_all(l);
    load_settle(l);
    f->leaves = NULL;
    f->sums = false;
    if (!load_is_over(l))
        tell_end(l, &w);
    rdb_walk_end(&w);
    return !load_is_over(l);
}

/* --- The cores --- */

static void tell_empty(void *context, struct slice key)
{
    struct load *l = context;
    if (atomic_fetch_add_explicit(&l->keys_empty, 1, memory_order_relaxed) < EMPTY_NAMED)
        log_write(&server->log, LOG_NOTICE, "rdbLoadObject skipping empty key: %.*s",
                  (int)(key.size < KEY_SHOWN_MAX ? key.size : KEY_SHOWN_MAX), key.data);
}

static void fail_record(struct load *l, const struct rdb_load *found)
{
    struct buf scratch;
    struct slice key = {0};
    buf_init(&scratch);
    const struct rdb_record *r = found->failed;
    struct rdb_reader reader = {.at = r->at, .end = r->at + r->size};
    rdb_read_string(&reader, &scratch, &key);
    load_fail(l,
              "Cannot load %s: %s, in key '%.*s' of database %u, at offset %" PRIu64
              ". Look at it with 'lasca-check-rdb %s'",
              l->path, found->error, (int)(key.size < KEY_SHOWN_MAX ? key.size : KEY_SHOWN_MAX),
              key.data ? key.data : "", r->db, r->offset, l->path);
    buf_deinit(&scratch);
}

bool load_insert(struct load *l, struct core *c, struct load_batch *b, int64_t until_us)
{
    struct rdb_load found = {
        .now_ms = l->now_ms, .replaces = l->replaces, .leaves_out = tell_empty, .context = l,
    };
    bool good = true;
    do {
        uint32_t left = b->count - b->done, n = left < INSERT_STEP ? left : INSERT_STEP;
        good = rdb_load_records(&c->shard, &found, b->records + b->done, n);
        b->done += n;
    } while (good && b->done < b->count && load_monotonic_us() < until_us);
    atomic_fetch_add_explicit(&l->keys_loaded, found.loaded, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->keys_expired, found.expired, memory_order_relaxed);
    if (!good)
        fail_record(l, &found);
    return !good || b->done == b->count;
}

static void register_library(struct core *c, struct shard *const *shards, void *context)
{
    struct load *l = server->load;
    struct load_batch *b = context;
    struct buf error;
    buf_init(&error);
    if (!function_load(server->functions, buf_slice(&b->code), l->replaces, 0, &error))
        load_fail(l, "Cannot load %s: failed loading a library of functions: %.*s", l->path,
                  (int)error.size, error.data ? error.data : "");
    buf_deinit(&error);
    load_batch_done(l, b);
}

void load_add_function(struct core *c, struct load_batch *b)
{
    bundle_dispatch(c, bundle_create_act(c, register_library, b));
}
