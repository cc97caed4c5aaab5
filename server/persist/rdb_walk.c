/* Walking through RDB files: see rdb_walk.h.
 *
 *     "REDIS" version in 4 digits, then items, each with a byte before it that says what it is: an
 *     opcode, or the type of a value. Expiry, idle time and frequency stand before the record that
 *     they are of. The end is an opcode with the CRC64 of all before.
 *
 * An item whose bytes are not all there is begun anew when more are. */
#include "server/persist/rdb_walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/rdb.h"

#define HEADER_SIZE 9
#define CHECKSUM_SIZE 8
/* Files of older versions have no checksum. */
#define CHECKSUM_VERSION 5

static bool fail(struct rdb_walk *w, const char *error)
{
    w->error_offset = load_file_offset(w->file, w->file->at);
    snprintf(w->error, sizeof(w->error), "%s", error);
    return false;
}

/* More of the file was needed, and there is none. */
static bool fail_short(struct rdb_walk *w)
{
    if (errno) {
        char text[128];
        snprintf(text, sizeof(text), "cannot read: %s", strerror(errno));
        return fail(w, text);
    }
    fail(w, "the file ends too early");
    w->error_offset = load_file_offset(w->file, w->file->end);
    return false;
}

bool rdb_walk_begin(struct rdb_walk *w, struct load_file *f, bool verify)
{
    *w = (struct rdb_walk){.file = f, .verify = verify};
    f->sums = verify;
    if (!load_file_need(f, HEADER_SIZE))
        return fail_short(w);
    if (memcmp(f->at, "REDIS", 5) != 0)
        return fail(w, "Wrong signature trying to load DB from file");
    char digits[5] = {f->at[5], f->at[6], f->at[7], f->at[8], '\0'};
    long version = strtol(digits, NULL, 10);
    if (version < 1 || version > RDB_VERSION_READ_MAX) {
        char text[160];
        snprintf(text, sizeof(text),
                 "Can't handle RDB format version %ld: up to %d is read, which Redis 7.4 writes",
                 version, RDB_VERSION_READ_MAX);
        return fail(w, text);
    }
    w->version = (uint32_t)version;
    f->at += HEADER_SIZE;
    return true;
}

void rdb_walk_end(struct rdb_walk *w)
{
    buf_deinit(&w->key);
    buf_deinit(&w->value);
}

/* What was read before the type of a record. */
struct attributes {
    int64_t expires_ms, idle_s;
    int16_t frequency;
};

static enum rdb_end read_numbers(struct rdb_reader *r, uint32_t count, uint64_t *first)
{
    enum rdb_end end = RDB_DONE;
    uint64_t n;
    for (uint32_t i = 0; i < count && end == RDB_DONE; i++) {
        end = rdb_read_length(r, &n);
        if (i == 0 && end == RDB_DONE)
            *first = n;
    }
    return end;
}

static enum rdb_end read_aux(struct rdb_walk *w, struct rdb_reader *r, struct rdb_item *item)
{
    item->kind = RDB_ITEM_AUX;
    enum rdb_end end = rdb_read_string(r, &w->key, &item->key);
    return end == RDB_DONE ? rdb_read_string(r, &w->value, &item->value) : end;
}

static enum rdb_end read_select(struct rdb_walk *w, struct rdb_reader *r, struct rdb_item *item)
{
    uint64_t db;
    enum rdb_end end = rdb_read_length(r, &db);
    if (end != RDB_DONE)
        return end;
    if (w->db_count && db >= w->db_count) {
        r->error = "Data file was created with a Redis server configured to handle more databases "
                   "than this one: raise the option databases";
        return RDB_CORRUPT;
    }
    if (db > UINT32_MAX) {
        r->error = "impossible database number";
        return RDB_CORRUPT;
    }
    item->kind = RDB_ITEM_SELECT;
    item->db = w->db = (uint32_t)db;
    return RDB_DONE;
}

static enum rdb_end read_record(struct rdb_walk *w, struct rdb_reader *r, uint8_t type,
                                const struct attributes *a, struct rdb_item *item)
{
    item->kind = RDB_ITEM_RECORD;
    item->type = type;
    item->db = w->db;
    item->expires_ms = a->expires_ms;
    item->idle_s = a->idle_s;
    item->frequency = a->frequency;
    const char *start = r->at;
    enum rdb_end end = rdb_read_string(r, &w->key, &item->key);
    if (end != RDB_DONE)
        return end;
    if (type == RDB_MODULE || type == RDB_MODULE_2) {
        r->error = "a value of a module, which this server cannot load";
        return RDB_CORRUPT;
    }
    end = rdb_skip_value(r, type);
    item->record = (struct slice){start, (size_t)(r->at - start)};
    return end;
}

static enum rdb_end read_expiry(struct rdb_reader *r, bool seconds, int64_t *expires_ms)
{
    uint64_t ms = 0;
    uint32_t s = 0;
    enum rdb_end end = seconds ? rdb_read_u32(r, &s) : rdb_read_u64(r, &ms);
    *expires_ms = seconds ? (int64_t)s * 1000 : (int64_t)ms;
    return end;
}

/* True where the opcode was one of those that stand before a record; *end says how it went. */
static bool read_attribute(struct rdb_reader *r, uint8_t op, struct attributes *a,
                           enum rdb_end *end)
{
    uint64_t n = 0;
    uint8_t byte = 0;
    switch (op) {
    case RDB_OP_EXPIRE_MS:
    case RDB_OP_EXPIRE_S:
        *end = read_expiry(r, op == RDB_OP_EXPIRE_S, &a->expires_ms);
        return true;
    case RDB_OP_IDLE:
        *end = rdb_read_length(r, &n);
        a->idle_s = n < INT64_MAX ? (int64_t)n : INT64_MAX;
        return true;
    case RDB_OP_FREQ:
        *end = rdb_read_byte(r, &byte);
        a->frequency = byte;
        return true;
    case RDB_OP_RESIZE_DB:
        *end = read_numbers(r, 2, &n);
        return true;
    case RDB_OP_SLOT_INFO:
        *end = read_numbers(r, 3, &n);
        return true;
    default:
        return false;
    }
}

/* One item with all that stands before it. */
static enum rdb_end read_item(struct rdb_walk *w, struct rdb_reader *r, struct rdb_item *item)
{
    struct attributes a = {-1, -1, -1};
    for (;;) {
        uint8_t op = 0;
        enum rdb_end end = rdb_read_byte(r, &op);
        if (end != RDB_DONE)
            return end;
        if (read_attribute(r, op, &a, &end)) {
            if (end != RDB_DONE)
                return end;
            continue;
        }
        switch (op) {
        case RDB_OP_AUX:
            return read_aux(w, r, item);
        case RDB_OP_SELECT_DB:
            return read_select(w, r, item);
        case RDB_OP_FUNCTION:
            item->kind = RDB_ITEM_FUNCTION;
            return rdb_read_string(r, &w->value, &item->value);
        case RDB_OP_FUNCTION_PRE:
            r->error = "Pre-release function format not supported";
            return RDB_CORRUPT;
        case RDB_OP_MODULE_AUX:
            item->kind = RDB_ITEM_MODULE;
            return rdb_skip_module(r);
        case RDB_OP_EOF:
            item->kind = RDB_ITEM_END;
            return RDB_DONE;
        default:
            return read_record(w, r, op, &a, item);
        }
    }
}

static bool check_end(struct rdb_walk *w)
{
    struct load_file *f = w->file;
    if (w->version < CHECKSUM_VERSION) {
        w->unsummed = true;
        return true;
    }
    uint64_t computed = load_file_checksum(f), stated;
    if (!load_file_need(f, CHECKSUM_SIZE))
        return fail_short(w);
    memcpy(&stated, f->at, sizeof(stated));
    w->unsummed = stated == 0;
    if (w->verify && stated && stated != computed) {
        char text[128];
        snprintf(text, sizeof(text),
                 "RDB CRC error: Wrong RDB checksum expected: (%llx) but got (%llx)",
                 (unsigned long long)stated, (unsigned long long)computed);
        return fail(w, text);
    }
    f->at += CHECKSUM_SIZE;
    return true;
}

enum rdb_item_kind rdb_walk_next(struct rdb_walk *w, struct rdb_item *item)
{
    struct load_file *f = w->file;
    for (;;) {
        struct rdb_reader r = {.at = f->at, .end = f->end};
        enum rdb_end end = read_item(w, &r, item);
        w->item_offset = load_file_offset(f, f->at);
        if (end == RDB_DONE) {
            f->at = r.at;
            if (item->kind == RDB_ITEM_END && !check_end(w))
                return RDB_ITEM_FAILED;
            return item->kind;
        }
        if (end != RDB_MORE) {
            fail(w, r.error ? r.error : "corrupt");
            return RDB_ITEM_FAILED;
        }
        errno = 0;
        enum load_file_end got = load_file_more(f);
        if (got == LOAD_FILE_ENDED)
            errno = 0;
        if (got != LOAD_FILE_READ) {
            fail_short(w);
            return RDB_ITEM_FAILED;
        }
    }
}
