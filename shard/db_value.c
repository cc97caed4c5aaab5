/* Values: how strings are held, and the building of entries around them.
 *
 * A value is replaced by giving its entry a new shape: `shape` takes the head that the entry
 * shall have and returns where its value goes. When the new shape needs a block of the same heap
 * class, the entry stays where it is: overwriting a value by one of about its size allocates
 * nothing.
 *
 * A string is an integer where its text is one; else it lies in the entry up to INLINE_SIZE_MAX;
 * else in a block. A block grows by half its size at least, so that n appended bytes cost O(n). */
#include "shard/db_value.h"

#include <assert.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "shard/journal.h"

/* Longest string held in an entry. Longer ones gain nothing from lying beside their key, and would
 * make the heap's last classes wasteful. */
#define INLINE_SIZE_MAX ((size_t)1024)
/* Redis's longest "embstr": one that it allocates with its object. */
#define EMBSTR_SIZE_MAX ((size_t)44)
#define KEY_SIZE_NARROW_MAX ((size_t)UINT8_MAX)
/* What the table takes for an item on average: its slot, its tag, its share of the empty ones. */
#define TABLE_ITEM_SIZE ((size_t)11)

static bool same_class(size_t a, size_t b)
{
    return a == b || heap_class_size(a) == heap_class_size(b);
}

static void copy_bytes(char *to, const char *from, size_t size)
{
    if (size)
        memcpy(to, from, size);
}

/* --- Blocks --- */

static size_t block_cap(const struct entry_block *b)
{
    return mem_usable(b) - sizeof(*b);
}

/* A block of `size` bytes, the first of them `old` and the rest zero. Where a string grows by less
 * than half, room for half is made, and the room left over not touched; a jump gets memory that the
 * allocator may know to be zero. */
static struct entry_block *block_resized(struct shard *s, struct slice old, size_t size)
{
    size_t grown = old.size + old.size / 2;
    bool slack = size > old.size && size < grown;
    size_t kept = old.size < size ? old.size : size;
    struct entry_block *b;
    if (slack) {
        b = mem_alloc(sizeof(*b) + grown);
        memset(b->bytes + kept, 0, size - kept);
    } else {
        b = mem_alloc_zeroed(sizeof(*b) + size);
    }
    copy_bytes(b->bytes, old.data, kept);
    b->size = size;
    s->block_bytes += mem_usable(b);
    return b;
}

static void block_destroy(struct shard *s, struct entry_block *b)
{
    s->block_bytes -= mem_usable(b);
    mem_free(b);
}

/* A block for the bytes, all of which are about to be written. */
static struct entry_block *block_of(struct shard *s, struct slice bytes)
{
    struct entry_block *b = mem_alloc(sizeof(*b) + bytes.size);
    b->size = bytes.size;
    copy_bytes(b->bytes, bytes.data, bytes.size);
    s->block_bytes += mem_usable(b);
    return b;
}

static bool entry_has_block(const struct entry *e)
{
    return e->type == TYPE_STRING && e->encoding == ENC_BLOCK;
}

static struct slice block_slice(const struct entry *e)
{
    const struct entry_block *b = entry_pointer(e);
    return (struct slice){b->bytes, b->size};
}

/* --- What values have beside their entries --- */

void db_release_value(struct shard *s, struct entry *e, bool lazy)
{
    if (e->type == TYPE_STRING) {
        if (e->encoding == ENC_BLOCK)
            block_destroy(s, entry_pointer(e));
        return;
    }
    struct value v = db_value_of(e);
    s->block_bytes -= value_memory(&v);
    if (snapshot_adopt(s, &v))
        return;
    if (lazy && value_ops_of(v.type)->parts(&v) > GARBAGE_PARTS_MIN)
        garbage_add_value(s, v);
    else
        value_free(&v);
}

/* Bytes that the value holds beside its entry. */
static size_t held_beside(const struct entry *e)
{
    if (e->type == TYPE_STRING)
        return e->encoding == ENC_BLOCK ? mem_usable(entry_pointer(e)) : 0;
    struct value v = db_value_of(e);
    return value_memory(&v);
}

/* Makes what `e` has beside its entry anew, owned by `s`: after the entry's bytes were copied. */
static void value_duplicate(struct shard *s, struct entry *e)
{
    if (e->type == TYPE_STRING) {
        if (e->encoding == ENC_BLOCK) {
            struct entry_block *b = block_of(s, block_slice(e));
            memcpy(entry_value(e), &b, sizeof(b));
        }
        return;
    }
    struct value v = db_value_of(e);
    struct value copy = value_ops_of(v.type)->copy(&v);
    s->block_bytes += value_memory(&copy);
    e->encoding = copy.encoding & 15;
    memcpy(entry_value(e), &copy.data, sizeof(copy.data));
}

const char *db_type_name(const struct place *p)
{
    static const char *const names[] = {
        [TYPE_STRING] = "string", [TYPE_LIST] = "list", [TYPE_SET] = "set",
        [TYPE_ZSET] = "zset",     [TYPE_HASH] = "hash", [TYPE_STREAM] = "stream",
    };
    assert(p->entry->type < sizeof(names) / sizeof(names[0]));
    return names[p->entry->type];
}

const char *db_encoding_name(const struct place *p)
{
    const struct entry *e = p->entry;
    if (e->type != TYPE_STRING) {
        struct value v = db_value_of(e);
        return value_ops_of(v.type)->encoding_name(&v);
    }
    if (e->encoding == ENC_INTEGER)
        return "int";
    bool raw = e->encoding == ENC_BLOCK || (e->flags & ENTRY_RAW) ||
               e->value_size > EMBSTR_SIZE_MAX;
    return raw ? "raw" : "embstr";
}

size_t db_memory(const struct place *p)
{
    return heap_class_size(entry_size(p->entry)) + held_beside(p->entry) + TABLE_ITEM_SIZE;
}

/* --- Shapes --- */

/* Puts an entry in the place, for the one that was there. Frees that entry, not its value. */
static void install(struct place *p, struct entry *e)
{
    struct entry *old = p->entry;
    struct db *db = p->db;
    if (old) {
        table_replace(db_place_at(p), e, entry_marked(e));
        db->expiring_count -= entry_expires(old);
        db->field_expiring_count -= (old->flags & ENTRY_FIELDS_EXPIRE) != 0;
        heap_free(&p->shard->heap, old, entry_size(old));
    } else {
        p->at = table_add(&db->keys, p->hash, e, entry_marked(e));
        p->version = ++db->version;
        db_notify(p, NOTIFY_NEW, "new");
    }
    db->expiring_count += entry_expires(e);
    db->field_expiring_count += (e->flags & ENTRY_FIELDS_EXPIRE) != 0;
    p->entry = e;
}

static void write_key(struct entry *e, struct slice key)
{
    char *to = e->bytes + entry_key_offset(e);
    assert(key.size <= UINT32_MAX);
    if (e->flags & ENTRY_WIDE_KEY) {
        uint32_t size = (uint32_t)key.size;
        memcpy(to - sizeof(size), &size, sizeof(size));
    }
    copy_bytes(to, key.data, key.size);
}

/* Gives the place an entry of this head (whose key size, and flags but ENTRY_RAW, are filled in
 * here) with an expiry as db_put_string takes it; returns where the value goes, which the caller
 * writes. What the old value had beside the entry must be released, or still in the caller's
 * hands. */
static inline char *shape(struct place *p, struct entry_head head, int64_t expires_ms)
{
    struct entry *e = p->entry;
    bool expiring_before = e && entry_expires(e);
    if (expires_ms == DB_KEEP_EXPIRY)
        expires_ms = expiring_before ? entry_expiry(e) : DB_NO_EXPIRY;
    bool expires = expires_ms != DB_NO_EXPIRY;
    bool wide = p->key.size > KEY_SIZE_NARROW_MAX;
    head.key_size = (uint8_t)(wide ? 0 : p->key.size);
    head.flags = (uint8_t)((head.flags & (ENTRY_RAW | ENTRY_FIELDS_EXPIRE)) |
                           (expires ? ENTRY_EXPIRES : 0) |
                           (wide ? ENTRY_WIDE_KEY : 0) | p->shard->colour);
    size_t rest = sizeof(*e) + (expires ? sizeof(expires_ms) : 0) + (wide ? sizeof(uint32_t) : 0) +
                  p->key.size;
    size_t area = entry_area(head.encoding, head.value_size);
    bool field_mark = e && ((e->flags ^ head.flags) & ENTRY_FIELDS_EXPIRE);
    if (e && expires == expiring_before && !field_mark &&
        same_class(rest + entry_value_area(e), rest + area)) {
        entry_write_head(e, head);
    } else {
        e = heap_alloc(&p->shard->heap, rest + area);
        entry_write_head(e, head);
        write_key(e, p->key);
        install(p, e);
    }
    if (expires)
        memcpy(e->bytes, &expires_ms, sizeof(expires_ms));
    return (char *)e + rest;
}

/* Before the place's value is replaced: frees what it has beside the entry, if there is any. Most
 * strings have nothing. */
static inline void release_old(struct place *p)
{
    struct entry *e = p->entry;
    if (!e)
        return;
    db_preserve(p);
    if (e->type == TYPE_STRING && e->encoding != ENC_BLOCK)
        return;
    assert(p->held == DB_HELD_NOW || p->held == held_beside(e));
    p->held = DB_HELD_NOW;
    db_release_value(p->shard, e, p->shard->keyspace->options.lazy_server_del);
}

/* The shape of a string that replaces the place's value. As in Redis, the frequency of use
 * outlives an overwrite, while the time of use is now. */
static char *shape_string(struct place *p, enum entry_encoding encoding, size_t inline_size,
                          uint8_t flags, int64_t expires_ms)
{
    bool keep = p->entry && p->shard->keyspace->options.lfu;
    struct entry_head head = {
        .clock = keep ? p->entry->clock : db_clock_fresh(p->shard),
        .type = TYPE_STRING,
        .encoding = (uint8_t)encoding,
        .flags = flags,
        .value_size = (uint16_t)inline_size,
    };
    return shape(p, head, expires_ms);
}

/* A tiny string lies in the entry with any key, another where the entry stays small enough for the
 * heap's classes. */
static bool fits_entry(const struct place *p, size_t size)
{
    size_t rest = sizeof(struct entry) + sizeof(int64_t) + sizeof(uint32_t) + p->key.size;
    return size <= EMBSTR_SIZE_MAX || (size <= INLINE_SIZE_MAX && rest + size <= HEAP_BLOCK_MAX);
}

/* --- Reading and replacing strings --- */

struct slice db_string(const struct place *p, char *scratch)
{
    const struct entry *e = p->entry;
    assert(e->type == TYPE_STRING);
    if (e->encoding == ENC_INLINE)
        return (struct slice){entry_value(e), e->value_size};
    if (e->encoding == ENC_INTEGER)
        return (struct slice){scratch, number_format_integer(scratch, entry_integer(e))};
    return block_slice(e);
}

bool db_string_integer(const struct place *p, int64_t *value)
{
    if (p->entry->type != TYPE_STRING || p->entry->encoding != ENC_INTEGER)
        return false;
    *value = entry_integer(p->entry);
    return true;
}

void db_put_integer(struct place *p, int64_t value, int64_t expires_ms)
{
    release_old(p);
    char *to = shape_string(p, ENC_INTEGER, 0, 0, expires_ms);
    memcpy(to, &value, sizeof(value));
}

/* Writes over the old value's block where it is neither too small nor wastefully large. */
static void put_block(struct place *p, struct slice value, int64_t expires_ms)
{
    struct entry_block *b = p->entry && entry_has_block(p->entry) ? entry_pointer(p->entry) : NULL;
    size_t cap = b ? block_cap(b) : 0;
    if (cap >= value.size && cap / 2 <= value.size) {
        db_preserve(p);
        memcpy(b->bytes, value.data, value.size);
        b->size = value.size;
    } else {
        release_old(p);
        b = block_of(p->shard, value);
    }
    char *to = shape_string(p, ENC_BLOCK, 0, 0, expires_ms);
    memcpy(to, &b, sizeof(b));
}

void db_put_string(struct place *p, struct slice value, int64_t expires_ms)
{
    int64_t integer;
    bool digits = value.size - 1 < NUMBER_INTEGER_SIZE_MAX &&
                  (value.data[0] == '-' || (value.data[0] >= '0' && value.data[0] <= '9'));
    if (digits && number_parse_integer(value, &integer)) {
        db_put_integer(p, integer, expires_ms);
        return;
    }
    db_put_text(p, value, expires_ms);
}

void db_put_text(struct place *p, struct slice value, int64_t expires_ms)
{
    if (__builtin_expect(!fits_entry(p, value.size), 0)) {
        put_block(p, value, expires_ms);
        return;
    }
    release_old(p);
    char *to = shape_string(p, ENC_INLINE, value.size, 0, expires_ms);
    copy_bytes(to, value.data, value.size);
}

/* --- Collections --- */

struct value db_value(const struct place *p, enum entry_type_id type)
{
    if (!p->entry)
        return value_ops_of(type)->create(p->shard->keyspace);
    assert(p->entry->type == type);
    return db_value_of(p->entry);
}

static bool fields_expire(const struct value *v)
{
    const struct value_ops *ops = value_ops_of(v->type);
    return ops->next_due_ms && ops->next_due_ms(v) != INT64_MAX;
}

void db_put_value(struct place *p, struct value v, int64_t expires_ms)
{
    release_old(p);
    struct entry_head head = {
        .clock = db_clock_fresh(p->shard),
        .type = v.type,
        .encoding = v.encoding,
        .flags = fields_expire(&v) ? ENTRY_FIELDS_EXPIRE : 0,
    };
    char *to = shape(p, head, expires_ms);
    memcpy(to, &v.data, sizeof(v.data));
    p->held = value_memory(&v);
    p->shard->block_bytes += p->held;
}

/* The entry's mark says whether the sweep is to look at it. */
static void mark_fields(struct place *p, bool expire)
{
    struct entry *e = p->entry;
    if (expire == ((e->flags & ENTRY_FIELDS_EXPIRE) != 0))
        return;
    e->flags ^= ENTRY_FIELDS_EXPIRE;
    p->db->field_expiring_count += expire ? 1 : UINT64_MAX;
    table_replace(db_place_at(p), e, entry_marked(e));
}

/* Writes the changed value to the entry and accounts for it. */
static void write_back(struct place *p, const struct value *v)
{
    struct entry *e = p->entry;
    assert(e->type == v->type && p->held != DB_HELD_NOW);
    assert((e->flags & ENTRY_COLOUR) == p->shard->colour);
    e->encoding = v->encoding & 15;
    memcpy(entry_value(e), &v->data, sizeof(v->data));
    size_t held = value_memory(v);
    p->shard->block_bytes += held - p->held;
    p->held = held;
    mark_fields(p, fields_expire(v));
}

void db_keep(struct place *p, struct value *v)
{
    bool empty = v->type != TYPE_STREAM && value_count(v) == 0;
    if (p->entry) {
        write_back(p, v);
        if (empty)
            db_delete(p);
    } else if (empty) {
        value_free(v);
    } else {
        db_put_value(p, *v, DB_NO_EXPIRY);
    }
}

bool db_fields_due(const struct entry *e, int64_t now_ms)
{
    if (!(e->flags & ENTRY_FIELDS_EXPIRE))
        return false;
    struct value v = db_value_of(e);
    return value_ops_of(v.type)->next_due_ms(&v) < now_ms;
}

static void journal_gone(void *context, struct slice field)
{
    const struct place *p = context;
    struct slice words[] = {SLICE("HDEL"), p->key, field};
    journal_append_by_time(p->shard, (uint32_t)(p->db - p->shard->dbs), words, 3);
}

uint64_t db_expire_fields(struct place *p, int64_t now_ms, uint64_t max)
{
    db_preserve(p);
    struct value v = db_value_of(p->entry);
    const struct value_ops *ops = value_ops_of(v.type);
    if (!ops->remove_due)
        return 0;
    p->held = value_memory(&v);
    struct value_gone gone = {journal_gone, p};
    bool journals = p->shard->keyspace->options.journal;
    uint64_t removed = ops->remove_due(&v, now_ms, max, journals ? &gone : NULL);
    p->shard->stats.expired_fields += removed;
    /* Before the hash goes: the place's key is the entry's own. */
    if (removed) {
        db_tell_watching(p, 0);
        db_notify(p, NOTIFY_HASH, "hexpired");
    }
    if (value_count(&v) == 0)
        db_notify(p, NOTIFY_GENERIC, "del");
    db_keep(p, &v);
    return removed;
}

/* --- Strings written in place --- */

static char *resize_block(struct place *p, size_t size)
{
    struct entry_block *b = entry_pointer(p->entry);
    size_t old_size = b->size, cap = block_cap(b);
    if (size <= cap && cap / 4 <= size) {
        if (size > old_size)
            memset(b->bytes + old_size, 0, size - old_size);
        b->size = size;
        return b->bytes;
    }
    struct entry_block *moved = block_resized(p->shard, block_slice(p->entry), size);
    block_destroy(p->shard, b);
    memcpy(entry_value(p->entry), &moved, sizeof(moved));
    return moved->bytes;
}

/* Changes the size of an inline string whose entry need not move for that. */
static bool resize_inline(struct place *p, size_t size)
{
    struct entry *e = p->entry;
    size_t now = entry_size(e), old_size = e->value_size;
    if (e->encoding != ENC_INLINE || !fits_entry(p, size) ||
        !same_class(now, now - old_size + size))
        return false;
    e->flags |= ENTRY_RAW;
    e->value_size = (uint16_t)size;
    if (size > old_size)
        memset(entry_value(e) + old_size, 0, size - old_size);
    return true;
}

char *db_string_bytes(struct place *p, size_t size)
{
    struct entry *e = p->entry;
    assert(!e || e->type == TYPE_STRING);
    if (e)
        db_preserve(p);
    if (e && e->encoding == ENC_BLOCK)
        return resize_block(p, size);
    if (e && resize_inline(p, size))
        return entry_value(e);

    char old[INLINE_SIZE_MAX];
    struct slice bytes = e ? db_string(p, old) : (struct slice){old, 0};
    assert(bytes.size <= sizeof(old));
    if (bytes.data != old)
        memcpy(old, bytes.data, bytes.size);
    bytes.data = old;
    bool fits = fits_entry(p, size);
    char *to = shape_string(p, fits ? ENC_INLINE : ENC_BLOCK, fits ? size : 0, ENTRY_RAW,
                            DB_KEEP_EXPIRY);
    if (!fits) {
        struct entry_block *b = block_resized(p->shard, bytes, size);
        memcpy(to, &b, sizeof(b));
        return b->bytes;
    }
    size_t kept = bytes.size < size ? bytes.size : size;
    memcpy(to, old, kept);
    memset(to + kept, 0, size - kept);
    return to;
}

/* --- Expiry --- */

int64_t db_expiry(const struct place *p)
{
    return entry_expires(p->entry) ? entry_expiry(p->entry) : DB_NO_EXPIRY;
}

void db_set_expiry(struct place *p, int64_t expires_ms)
{
    struct entry *old = p->entry;
    db_preserve(p);
    bool expiring_before = entry_expires(old), expires = expires_ms != DB_NO_EXPIRY;
    if (expires != expiring_before) {
        /* Everything behind the expiry keeps its bytes and moves by eight. */
        const char *rest = old->bytes + (expiring_before ? sizeof(expires_ms) : 0);
        size_t rest_size = entry_size(old) - (size_t)(rest - (const char *)old);
        size_t rest_offset = expires ? sizeof(expires_ms) : 0;
        struct entry *e = heap_alloc(&p->shard->heap, sizeof(*e) + rest_offset + rest_size);
        *e = *old;
        e->flags ^= ENTRY_EXPIRES;
        memcpy(e->bytes + rest_offset, rest, rest_size);
        install(p, e);
    }
    if (expires)
        memcpy(p->entry->bytes, &expires_ms, sizeof(expires_ms));
}

/* --- Moving and copying --- */

/* Gives `to` a value of the same bytes in the entry; what lies beside it is shared for the
 * moment. */
static void take_value(struct place *to, const struct entry *e, uint32_t clock)
{
    assert(e && e != to->entry);
    /* As in Redis, where what was there is removed first. */
    if (to->entry)
        db_notify(to, NOTIFY_NEW, "new");
    release_old(to);
    struct entry_head head = {
        .clock = clock,
        .type = e->type,
        .encoding = e->encoding,
        .flags = e->flags,
        .value_size = e->value_size,
    };
    char *value = shape(to, head, entry_expires(e) ? entry_expiry(e) : DB_NO_EXPIRY);
    memcpy(value, entry_value(e), entry_value_area(e));
}

void db_move(struct place *from, struct place *to)
{
    db_preserve(from);
    take_value(to, from->entry, from->entry->clock);
    size_t beside = held_beside(from->entry);
    from->shard->block_bytes -= beside;
    to->shard->block_bytes += beside;
    if (from->shard != to->shard && from->entry->type != TYPE_STRING) {
        struct value v = db_value_of(from->entry);
        snapshot_hand_over(from->shard, to->shard, &v);
    }
    db_drop(from);
}

void db_copy(const struct place *from, struct place *to)
{
    take_value(to, from->entry, db_clock_fresh(to->shard));
    value_duplicate(to->shard, to->entry);
}

void db_put_entry(struct place *p, const struct entry *was)
{
    take_value(p, was, was->clock);
    p->shard->block_bytes += held_beside(p->entry);
}

void db_set_aside(struct place *p)
{
    db_preserve(p);
    p->shard->block_bytes -= held_beside(p->entry);
    struct entry_head head = {.clock = p->entry->clock, .type = TYPE_STRING};
    int64_t placeholder = 0;
    memcpy(shape(p, head, DB_KEEP_EXPIRY), &placeholder, sizeof(placeholder));
}
