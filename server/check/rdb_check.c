/* Looking at an RDB without a server: see rdb_check.h. Framing and checksum are looked at, each
 * value made and thrown away, packed ones looked at element by element. The words of the report are
 * those of redis-check-rdb, which scripts look for. */
#include "server/check/rdb_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/persist/rdb_walk.h"
#include "shard/keyspace.h"
#include "shard/rdb.h"

#define TYPE_COUNT (TYPE_STREAM + 1)
#define SHOWN_MAX 128
/* Records between two looks at the clock. */
#define TELL_STEP 1024

struct rdb_check {
    struct load_file file;
    struct rdb_walk walk;
    struct keyspace keyspace;
    int64_t now_ms;
    int64_t told_s;
    uint64_t keys, expires, expired, empty, functions;
    uint64_t of_type[TYPE_COUNT];
};

static int shown(struct slice s)
{
    return (int)(s.size < SHOWN_MAX ? s.size : SHOWN_MAX);
}

static void tell_counts(const struct rdb_check *c)
{
    static const char *const names[TYPE_COUNT] = {
        [TYPE_STRING] = "strings", [TYPE_LIST] = "lists", [TYPE_SET] = "sets",
        [TYPE_ZSET] = "sorted sets", [TYPE_HASH] = "hashes", [TYPE_STREAM] = "streams",
    };
    printf("[info] %" PRIu64 " keys read\n", c->keys);
    for (int i = 0; i < TYPE_COUNT; i++)
        if (c->of_type[i])
            printf("[info] %" PRIu64 " %s\n", c->of_type[i], names[i]);
    printf("[info] %" PRIu64 " expires\n", c->expires);
    printf("[info] %" PRIu64 " already expired\n", c->expired);
    if (c->empty)
        printf("[info] %" PRIu64 " empty collections, which loading leaves out\n", c->empty);
    if (c->functions)
        printf("[info] %" PRIu64 " libraries of functions\n", c->functions);
}

static void tell_error(const struct rdb_check *c, uint64_t offset, const char *error)
{
    printf("--- RDB ERROR DETECTED ---\n[offset %" PRIu64 "] %s\n", offset, error);
}

/* To a terminal on one line that is written over, else a line each time. */
static void tell_progress(struct rdb_check *c)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec == c->told_s)
        return;
    if (c->told_s) {
        uint64_t at = load_file_offset(&c->file, c->file.at);
        bool terminal = isatty(STDERR_FILENO);
        fprintf(stderr, "%s%d%% (%" PRIu64 " keys)%s", terminal ? "\r" : "",
                (int)(at * 100 / (c->file.size ? c->file.size : 1)), c->keys,
                terminal ? "" : "\n");
    }
    c->told_s = now.tv_sec;
}

static bool check_value(struct rdb_check *c, const struct rdb_item *item)
{
    struct rdb_options options = {.keyspace = &c->keyspace};
    struct rdb_reader r = {.at = item->record.data, .end = item->record.data + item->record.size};
    struct rdb_value v;
    enum rdb_end end = rdb_skip_string(&r);
    if (end == RDB_DONE)
        end = rdb_read_value(&r, item->type, &options, &v);
    if (end == RDB_DONE && r.at != r.end) {
        rdb_value_deinit(&v);
        r.error = "a value that ends too early";
        end = RDB_CORRUPT;
    }
    if (end == RDB_EMPTY) {
        c->empty++;
        return true;
    }
    if (end == RDB_DONE) {
        c->of_type[v.type]++;
        rdb_value_deinit(&v);
        return true;
    }
    tell_error(c, c->walk.item_offset, r.error ? r.error : "a value that cannot be read");
    printf("[additional info] Reading key '%.*s' of database %u\n"
           "[additional info] Reading type %u\n",
           shown(item->key), item->key.data, item->db, item->type);
    return false;
}

static bool check_record(struct rdb_check *c, const struct rdb_item *item)
{
    c->keys++;
    c->expires += item->expires_ms != -1;
    c->expired += item->expires_ms != -1 && item->expires_ms < c->now_ms;
    if (c->keys % TELL_STEP == 0)
        tell_progress(c);
    return check_value(c, item);
}

static bool check_end(const struct rdb_check *c)
{
    uint64_t at = load_file_offset(&c->file, c->file.at);
    if (c->walk.unsummed)
        printf("[offset %" PRIu64 "] RDB file was saved with checksum disabled: no check "
               "performed.\n", at);
    else
        printf("[offset %" PRIu64 "] Checksum OK\n", at);
    printf("[offset %" PRIu64 "] \\o/ RDB looks OK! \\o/\n", at);
    return true;
}

static bool check_items(struct rdb_check *c)
{
    struct rdb_item item;
    for (;;) {
        switch (rdb_walk_next(&c->walk, &item)) {
        case RDB_ITEM_RECORD:
            if (!check_record(c, &item))
                return false;
            break;
        case RDB_ITEM_AUX:
            printf("[offset %" PRIu64 "] AUX FIELD %.*s = '%.*s'\n", c->walk.item_offset,
                   shown(item.key), item.key.data, shown(item.value), item.value.data);
            break;
        case RDB_ITEM_SELECT:
            printf("[offset %" PRIu64 "] Selecting DB ID %u\n", c->walk.item_offset, item.db);
            break;
        case RDB_ITEM_FUNCTION:
            c->functions++;
            break;
        case RDB_ITEM_MODULE:
            printf("[offset %" PRIu64 "] MODULE AUX, which loading leaves out\n",
                   c->walk.item_offset);
            break;
        case RDB_ITEM_FAILED:
            tell_error(c, c->walk.error_offset, c->walk.error);
            return false;
        case RDB_ITEM_END:
            return check_end(c);
        }
    }
}

/* Encodings follow these as they do in a server without options. */
static void init_keyspace(struct keyspace *k)
{
    static const unsigned char secret[HASH_SECRET_SIZE];
    keyspace_init(k, 1, 16, secret);
    k->options.hash_max_listpack_entries = k->options.set_max_listpack_entries =
        k->options.zset_max_listpack_entries = 128;
    k->options.hash_max_listpack_value = k->options.set_max_listpack_value =
        k->options.zset_max_listpack_value = 64;
    k->options.set_max_intset_entries = 512;
    k->options.list_max_listpack_size = -2;
    k->options.stream_node_max_bytes = 4096;
    k->options.stream_node_max_entries = 100;
}

static bool check(struct rdb_check *c, const char *path)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    c->now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    init_keyspace(&c->keyspace);
    printf("[offset 0] Checking RDB file %s\n", path);
    bool good = rdb_walk_begin(&c->walk, &c->file, true);
    if (good)
        good = check_items(c);
    else
        tell_error(c, c->walk.error_offset, c->walk.error);
    tell_counts(c);
    rdb_walk_end(&c->walk);
    return good;
}

bool rdb_check_part(const char *path, size_t *end)
{
    struct rdb_check *c = mem_alloc_zeroed(sizeof(*c));
    bool good = load_file_open(&c->file, path, NULL);
    if (good) {
        good = check(c, path);
        *end = (size_t)load_file_offset(&c->file, c->file.at);
        load_file_close(&c->file);
    } else {
        printf("--- RDB ERROR DETECTED ---\nCannot open file %s: %s\n", path, strerror(errno));
    }
    mem_free(c);
    return good;
}
