/* Undo: see undo.h. Here are the records' memory, whole keys, and the taking back; the commands are
 * in undo_commands.c, parts of collections in undo_element.c. */
#include "shard/undo.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/type/intset.h"
#include "shard/type/listpack.h"
#include "shard/undo_record.h"

/* What one script may have kept for it. */
#define UNDO_BYTES_MAX ((size_t)16 << 20)
/* Chunks of memory: the first is of a size that the allocator has at hand. */
#define CHUNK_SIZE_MIN ((size_t)1024)
#define CHUNK_SIZE_MAX ((size_t)65536)
#define BUCKETS_MIN 8u
/* Values that are copied whole. A string or packed collection is one memcpy: 1 KiB of it takes some
 * 20 ns. A collection of parts is copied part by part, for 20 to 50 ns each. */
#define CHEAP_PACKED_MAX ((size_t)4096)
#define PACKED_MAX ((size_t)65536)
#define PARTS_BYTES_MAX ((size_t)16384)

struct undo_chunk {
    struct undo_chunk *next;
    size_t size;
    char bytes[];
};

/* --- Memory --- */

void undo_init(struct undo *u)
{
    *u = (struct undo){0};
}

static void chunk_add(struct undo *u, size_t at_least)
{
    size_t size = u->chunks ? u->chunks->size * 4 : CHUNK_SIZE_MIN;
    if (size > CHUNK_SIZE_MAX)
        size = CHUNK_SIZE_MAX;
    if (size < sizeof(struct undo_chunk) + at_least)
        size = sizeof(struct undo_chunk) + at_least;
    struct undo_chunk *chunk = mem_alloc(size);
    *chunk = (struct undo_chunk){u->chunks, size};
    u->chunks = chunk;
    u->bytes += size;
    u->room = chunk->bytes;
    u->room_size = size - sizeof(*chunk);
}

void *undo_alloc(struct undo *u, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > u->room_size) {
        if (size > UNDO_BYTES_MAX || u->bytes + size > UNDO_BYTES_MAX)
            return NULL;
        chunk_add(u, size);
    }
    void *taken = u->room;
    u->room += size;
    u->room_size -= size;
    return taken;
}

bool undo_copy(struct undo *u, struct slice bytes, struct slice *copy)
{
    char *to = undo_alloc(u, bytes.size);
    if (!to)
        return false;
    if (bytes.size)
        memcpy(to, bytes.data, bytes.size);
    *copy = (struct slice){to, bytes.size};
    return true;
}

struct undo_item *undo_item_add(struct undo *u, struct undo_items *items, struct slice text)
{
    struct undo_item *item = undo_alloc(u, sizeof(*item));
    if (!item)
        return NULL;
    *item = (struct undo_item){0};
    if (!undo_copy(u, text, &item->text))
        return NULL;
    if (!items->end)
        items->end = &items->first;
    *items->end = item;
    items->end = &item->next;
    return item;
}

/* --- Places --- */

struct place undo_place_of(struct call *c, struct slice key, uint32_t db)
{
    struct shard *s = c->shard ? c->shard : c->shards[keyspace_shard(c->keyspace, key)];
    struct place p = db_place_as_is(s, db, key, keyspace_hash(c->keyspace, key));
    if (p.entry && entry_expired(p.entry, c->now_ms))
        p.entry = NULL;
    return p;
}

struct place undo_place(struct call *c, uint32_t arg)
{
    struct place p = undo_place_of(c, c->argv[arg], c->db);
    if ((int)arg == c->command->first_key) {
        c->first_key_hash = p.hash;
        c->first_key_hashed = true;
    }
    return p;
}

static uint32_t db_index(const struct place *p)
{
    return (uint32_t)(p->db - p->shard->dbs);
}

/* --- Keys that are covered --- */

static struct undo_record **bucket_of(const struct undo *u, uint64_t hash)
{
    return &u->buckets[hash & (u->bucket_count - 1)];
}

/* Where the record that covers the key hangs, or would: then it is NULL. */
static struct undo_record **covering(const struct undo *u, const struct place *p)
{
    struct undo_record **at = bucket_of(u, p->hash);
    for (; *at; at = &(*at)->bucket_next) {
        const struct undo_record *r = *at;
        if (r->hash == p->hash && r->shard == p->shard && r->db == db_index(p) &&
            slice_equal(r->key, p->key))
            break;
    }
    return at;
}

bool undo_is_covered(const struct undo *u, const struct place *p)
{
    return u->whole_count && *covering(u, p);
}

static void uncover(struct undo *u, struct undo_record **at)
{
    (*at)->covers = false;
    *at = (*at)->bucket_next;
    u->whole_count--;
}

void undo_uncover(struct undo *u, const struct place *p)
{
    if (undo_is_covered(u, p))
        uncover(u, covering(u, p));
}

static void hang_up(struct undo *u, struct undo_record *r)
{
    struct undo_record **bucket = bucket_of(u, r->hash);
    r->bucket_next = *bucket;
    *bucket = r;
}

/* Makes room for one more; false: no memory. */
static bool buckets_reserve(struct undo *u)
{
    if (u->whole_count < u->bucket_count)
        return true;
    uint32_t count = u->bucket_count ? u->bucket_count * 4 : BUCKETS_MIN;
    struct undo_record **buckets = undo_alloc(u, count * sizeof(struct undo_record *));
    if (!buckets)
        return false;
    memset(buckets, 0, count * sizeof(struct undo_record *));
    u->buckets = buckets;
    u->bucket_count = count;
    for (struct undo_record *r = u->last; r; r = r->older)
        if (r->covers)
            hang_up(u, r);
    return true;
}

/* --- Records --- */

struct undo_record *undo_record_of(struct undo *u, const struct place *p, size_t size,
                                   void (*restore)(struct undo_record *r, struct place *p))
{
    const struct entry *e = p->entry;
    size_t front = e ? (size_t)(entry_value(e) - (const char *)e) : 0;
    struct undo_record *r = undo_alloc(u, size + (e ? front : p->key.size));
    if (!r)
        return NULL;
    memset(r, 0, size);
    r->restore = restore;
    r->shard = p->shard;
    r->hash = p->hash;
    r->db = db_index(p);
    char *behind = (char *)r + size;
    if (e) {
        r->was = memcpy(behind, e, front);
        r->key = entry_key(r->was);
    } else {
        if (p->key.size)
            memcpy(behind, p->key.data, p->key.size);
        r->key = (struct slice){behind, p->key.size};
    }
    return r;
}

void undo_add(struct undo *u, struct undo_record *r)
{
    r->older = u->last;
    u->last = r;
}

/* As undo_add; from here on the record covers its key. There is room in the buckets. */
static void add_covering(struct undo *u, struct undo_record *r)
{
    undo_add(u, r);
    r->covers = true;
    hang_up(u, r);
    u->whole_count++;
    u->owned += r->owned;
}

/* --- Keys that were not there, expiries --- */

static void restore_absent(struct undo_record *r, struct place *p)
{
    if (p->entry)
        db_delete_as(p, true);
}

static bool note_absent(struct undo *u, struct place *p)
{
    struct undo_record *r;
    if (!buckets_reserve(u) || !(r = undo_record_of(u, p, sizeof(*r), restore_absent)))
        return false;
    add_covering(u, r);
    return true;
}

void undo_restore_front(const struct undo_record *r, struct place *p)
{
    int64_t expires_ms = entry_expires(r->was) ? entry_expiry(r->was) : DB_NO_EXPIRY;
    if (db_expiry(p) != expires_ms)
        db_set_expiry(p, expires_ms);
    p->entry->clock = r->was->clock;
}

static void restore_front(struct undo_record *r, struct place *p)
{
    assert(p->entry);
    undo_restore_front(r, p);
}

bool undo_note_front(struct undo *u, struct place *p)
{
    if (!p->entry || undo_is_covered(u, p))
        return true;
    struct undo_record *r = undo_record_of(u, p, sizeof(*r), restore_front);
    if (r)
        undo_add(u, r);
    return r != NULL;
}

/* --- Whole values --- */

static bool has_block(const struct entry *e)
{
    return e->type == TYPE_STRING && e->encoding == ENC_BLOCK;
}

static bool is_packed(const struct entry *e)
{
    return e->encoding == ENC_LISTPACK || e->encoding == ENC_INTSET;
}

/* A value that is one run of bytes beside its entry. */
static bool is_one_run(const struct entry *e)
{
    return has_block(e) || is_packed(e);
}

static size_t run_size(const struct entry *e)
{
    const void *run = entry_pointer(e);
    if (e->type == TYPE_STRING)
        return sizeof(struct entry_block) + ((const struct entry_block *)run)->size;
    return e->encoding == ENC_LISTPACK ? listpack_size(run) : intset_size(run);
}

static size_t parts_size(const struct entry *e)
{
    struct value v = {(uint8_t)e->type, (uint8_t)e->encoding, entry_pointer(e)};
    return value_memory(&v);
}

static bool lies_in_entry(const struct entry *e)
{
    return e->type == TYPE_STRING && !has_block(e);
}

bool undo_is_cheap(const struct place *p)
{
    const struct entry *e = p->entry;
    return lies_in_entry(e) || (is_one_run(e) && run_size(e) <= CHEAP_PACKED_MAX);
}

/* The copy of the value becomes the key's, which leaves the record without one. */
static void restore_whole(struct undo_record *r, struct place *p)
{
    struct entry *was = r->was;
    if (is_one_run(was) && !r->owned) {
        size_t size = run_size(was);
        void *run = memcpy(mem_alloc(size), entry_pointer(was), size);
        memcpy(entry_value(was), &run, sizeof(run));
    }
    r->owned = false;
    db_put_entry(p, was);
}

/* A record with a copy of the entry, value area included, and room for `beside` bytes more. */
static struct undo_record *record_whole(struct undo *u, const struct place *p, size_t beside)
{
    if (!buckets_reserve(u))
        return NULL;
    size_t size = entry_size(p->entry), whole = (size + 7) & ~(size_t)7;
    struct undo_record *r = undo_alloc(u, sizeof(*r) + whole + beside);
    if (!r)
        return NULL;
    *r = (struct undo_record){
        .restore = restore_whole, .shard = p->shard, .hash = p->hash, .db = db_index(p),
    };
    r->was = memcpy(r + 1, p->entry, size);
    r->key = entry_key(r->was);
    return r;
}

static bool note_run(struct undo *u, struct place *p)
{
    size_t size = run_size(p->entry);
    if (size > PACKED_MAX)
        return false;
    struct undo_record *r = record_whole(u, p, size);
    if (!r)
        return false;
    void *run = (char *)r->was + ((entry_size(r->was) + 7) & ~(size_t)7);
    memcpy(run, entry_pointer(p->entry), size);
    memcpy(entry_value(r->was), &run, sizeof(run));
    add_covering(u, r);
    return true;
}

static bool note_parts(struct undo *u, struct place *p)
{
    size_t size = parts_size(p->entry);
    if (size > PARTS_BYTES_MAX || u->bytes + size > UNDO_BYTES_MAX)
        return false;
    struct undo_record *r = record_whole(u, p, 0);
    if (!r)
        return false;
    struct value v = db_value_of(p->entry);
    struct value copy = value_ops_of(v.type)->copy(&v);
    r->was->encoding = copy.encoding & 15;
    memcpy(entry_value(r->was), &copy.data, sizeof(copy.data));
    r->owned = true;
    u->bytes += size;
    add_covering(u, r);
    return true;
}

bool undo_note_whole(struct undo *u, struct place *p)
{
    if (undo_is_covered(u, p))
        return true;
    if (!p->entry)
        return note_absent(u, p);
    if (lies_in_entry(p->entry)) {
        struct undo_record *r = record_whole(u, p, 0);
        if (r)
            add_covering(u, r);
        return r != NULL;
    }
    return is_one_run(p->entry) ? note_run(u, p) : note_parts(u, p);
}

bool undo_note_lost(struct undo *u, struct place *p)
{
    if (!p->entry || undo_is_covered(u, p) || lies_in_entry(p->entry))
        return undo_note_whole(u, p);
    struct undo_record *r = record_whole(u, p, 0);
    if (!r)
        return false;
    r->owned = true;
    add_covering(u, r);
    db_set_aside(p);
    return true;
}

/* --- Keys that got another name --- */

struct moved_record {
    struct undo_record base;
    struct shard *to_shard;
    uint32_t to_db;
    uint64_t to_hash;
    struct slice to_key;
};

static void restore_moved(struct undo_record *r, struct place *p)
{
    const struct moved_record *m = (const struct moved_record *)r;
    struct place to = db_place_as_is(m->to_shard, m->to_db, m->to_key, m->to_hash);
    assert(to.entry);
    db_move(&to, p);
    undo_restore_front(r, p);
}

bool undo_note_moved(struct undo *u, struct place *from, struct place *to)
{
    if (undo_is_covered(u, from))
        return true;
    if (undo_is_cheap(from))
        return undo_note_whole(u, from);
    struct slice to_key;
    struct moved_record *m;
    if (!undo_copy(u, to->key, &to_key) ||
        !(m = (struct moved_record *)undo_record_of(u, from, sizeof(*m), restore_moved)))
        return false;
    m->to_shard = to->shard;
    m->to_db = db_index(to);
    m->to_hash = to->hash;
    m->to_key = to_key;
    undo_add(u, &m->base);
    /* What it brings there is not what its record has. */
    undo_uncover(u, to);
    return true;
}

/* --- Taking back --- */

static void take_back_to(struct undo *u, const struct undo_record *mark)
{
    while (u->last != mark) {
        struct undo_record *r = u->last;
        struct place p = db_place_as_is(r->shard, r->db, r->key, r->hash);
        if (r->covers)
            uncover(u, covering(u, &p));
        if (p.entry)
            db_preserve(&p);
        u->owned -= r->owned;
        r->restore(r, &p);
        u->last = r->older;
    }
}

void undo_take_back(struct undo *u)
{
    take_back_to(u, NULL);
}

bool undo_note(struct undo *u, struct call *call, const uint32_t *keys, uint32_t key_count)
{
    const struct undo_record *mark = u->last;
    if (undo_command_note(u, call, keys, key_count))
        return true;
    take_back_to(u, mark);
    return false;
}

/* A large value is freed later, like one that is removed. */
static void free_owned(struct undo_record *r)
{
    if (r->was->type == TYPE_STRING) {
        mem_free(entry_pointer(r->was));
        return;
    }
    struct value v = db_value_of(r->was);
    if (snapshot_adopt(r->shard, &v))
        return;
    if (value_ops_of(v.type)->parts(&v) > GARBAGE_PARTS_MIN)
        garbage_add_value(r->shard, v);
    else
        value_free(&v);
}

void undo_drop(struct undo *u)
{
    for (struct undo_record *r = u->last; r && u->owned; r = r->older) {
        if (r->owned)
            free_owned(r);
        u->owned -= r->owned;
    }
    while (u->chunks) {
        struct undo_chunk *next = u->chunks->next;
        mem_free(u->chunks);
        u->chunks = next;
    }
    undo_init(u);
}
