/* A shard's part in a snapshot: see snapshot.h.
 *
 * One struct a shard, made at its first cut and kept. Old entries are met in three places: in the
 * databases, in those that were flushed since the cut, and (changed or not) as collections with an
 * open view. A step takes the views first, as they hold what changes would have lost; then the
 * flushed databases, whose memory is wanted back; then the others. */
#include "shard/snapshot.h"

#include <assert.h>

#include "proto/mem.h"
#include "shard/db_value.h"
#include "shard/rdb.h"
#include "shard/type/view.h"

/* Looked at in one go: their entries are all prefetched before the first is written. */
#define BATCH_ITEMS 16
#define BATCH_BUCKETS 32
/* Bytes of a record: so that a small budget makes a small batch. */
#define ITEM_SIZE_USUAL 64
/* What an entry counts for in a step's budget beside the bytes that it is written in. */
#define ENTRY_COST 16
/* Output grows to at least this before it is likely to be taken. */
#define OUTPUT_SIZE_MIN ((size_t)65536)
/* Longer strings are written as they are: compressing this much takes some milliseconds. */
#define COMPRESS_STRING_MAX ((size_t)1 << 20)
/* No database is selected in the output so far. */
#define NO_DB UINT32_MAX

/* A huge collection on its way out. */
struct writing {
    struct writing *next;
    struct view *view;
    struct buf record; /* SELECT DB, head, and what there is of the value; not what was taken */
    uint64_t number;   /* of the record, once a piece was taken; 0: none was */
};

/* The keys of a database that was flushed. */
struct flushed {
    struct flushed *next;
    struct table keys;
    uint64_t position;
    uint32_t db;   /* at the cut */
    size_t memory; /* roughly */
};

struct snapshot {
    bool active;
    bool abandoned;
    struct snapshot_options options;
    struct buf out;         /* whole records. While there is an open one, they wait for its end */
    uint32_t out_db;        /* selected at its end */
    uint64_t open;          /* the number of the record of which a piece was taken, but not yet the
                             * last; 0: there is none. While it is written it is the first */
    bool ended;             /* it is written: what is left of it is in `rest` */
    struct buf rest;
    uint64_t numbers;       /* given to records */
    struct writing *first;  /* oldest first; the first is the one being written */
    struct writing **last;  /* where the next one hangs */
    struct flushed *flushed;
    uint32_t unswept;       /* databases */
    uint32_t db_at;         /* where the sweep looks for one */
    struct snapshot_counts counts; /* but for memory */
};

/* --- Output --- */

static void select_db(struct buf *out, uint32_t db)
{
    rdb_write_byte(out, RDB_OP_SELECT_DB);
    rdb_write_length(out, db);
}

/* Where records go, with the database selected. */
static struct buf *output(struct snapshot *sn, uint32_t db)
{
    if (sn->out.cap == 0)
        buf_reserve(&sn->out, OUTPUT_SIZE_MIN);
    if (sn->out_db != db)
        select_db(&sn->out, db);
    sn->out_db = db;
    return &sn->out;
}

/* Takes the record, which selects its own database: so it may as well stand in front, where it is
 * the larger part and moving it would take long. */
static void output_record(struct snapshot *sn, struct writing *w)
{
    struct buf *record = &w->record;
    if (w->number) {
        assert(w->number == sn->open && !sn->ended);
        sn->ended = true;
        sn->rest = *record;
        buf_init(record);
        return;
    }
    if (record->size > sn->out.size) {
        struct buf kept = sn->out;
        sn->out = *record;
        *record = kept;
    }
    buf_append_slice(&sn->out, buf_slice(record));
    buf_deinit(record);
    sn->out_db = NO_DB;
}

static void write_head(struct shard *s, struct buf *out, const struct entry *e)
{
    const struct snapshot_options *o = &s->snapshot->options;
    rdb_write_head(out, e, s->now_ms, &s->keyspace->options, o->clocks, o->compress);
}

/* --- Huge collections --- */

static void hang_on(struct snapshot *sn, struct writing *w)
{
    w->next = NULL;
    *sn->last = w;
    sn->last = &w->next;
}

static void unhang(struct snapshot *sn, struct writing **at)
{
    struct writing *w = *at;
    *at = w->next;
    if (sn->last == &w->next)
        sn->last = at;
}

static void begin_writing(struct shard *s, uint32_t db, const struct entry *e, struct value *v)
{
    struct snapshot *sn = s->snapshot;
    struct writing *w = mem_alloc(sizeof(*w));
    *w = (struct writing){0};
    select_db(&w->record, db);
    write_head(s, &w->record, e);
    w->view = view_open(v, sn->options.compress);
    hang_on(sn, w);
}

/* Frees a value that had only its view left. */
static void free_value(struct shard *s, struct value *v)
{
    if (value_ops_of(v->type)->parts(v) > GARBAGE_PARTS_MIN)
        garbage_add_value(s, *v);
    else
        value_free(v);
}

/* Ends the first one, whole or not. */
static void end_writing(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    struct writing *w = sn->first;
    struct value v;
    if (view_close(w->view, &v))
        free_value(s, &v);
    unhang(sn, &sn->first);
    buf_deinit(&w->record);
    mem_free(w);
}

/* Returns about what it has cost. */
static size_t step_writing(struct shard *s, size_t budget)
{
    struct snapshot *sn = s->snapshot;
    struct writing *w = sn->first;
    size_t before = w->record.size;
    bool whole = view_write(w->view, &w->record, budget);
    size_t cost = w->record.size - before + ENTRY_COST;
    if (whole) {
        output_record(sn, w);
        end_writing(s);
    }
    return cost;
}

static struct writing **find_writing(struct snapshot *sn, const struct view *view)
{
    struct writing **at = &sn->first;
    while (*at && (*at)->view != view)
        at = &(*at)->next;
    return at;
}

bool snapshot_adopt(struct shard *s, struct value *v)
{
    struct view *view;
    if (!s->snapshot || !s->snapshot->first || !(view = view_of(v)))
        return false;
    assert(*find_writing(s->snapshot, view));
    view_adopt(view, v);
    return true;
}

static void hang_first(struct snapshot *sn, struct writing *w)
{
    w->next = sn->first;
    if (!sn->first)
        sn->last = &w->next;
    sn->first = w;
}

/* A record that cannot wait: the shard that would go on with it takes nothing more. */
static void write_whole(struct shard *s, struct writing **at)
{
    struct snapshot *sn = s->snapshot;
    struct writing *w = *at;
    unhang(sn, at);
    hang_first(sn, w);
    while (sn->first == w)
        step_writing(s, SIZE_MAX / 2);
}

void snapshot_hand_over(struct shard *from, struct shard *to, struct value *v)
{
    struct view *view;
    if (!from->snapshot || !from->snapshot->first || !(view = view_of(v)))
        return;
    struct writing **at = find_writing(from->snapshot, view);
    struct writing *w = *at;
    assert(w);
    if (!snapshot_active(to) || (w->number && to->snapshot->open)) {
        write_whole(from, at);
        return;
    }
    unhang(from->snapshot, at);
    if (w->number) {
        from->snapshot->open = 0;
        to->snapshot->open = w->number;
        hang_first(to->snapshot, w);
    } else {
        hang_on(to->snapshot, w);
    }
    from->snapshot->counts.keys_total--;
    from->snapshot->counts.keys_written--;
    to->snapshot->counts.keys_total++;
    to->snapshot->counts.keys_written++;
}

/* --- Entries --- */

static bool is_long_string(const struct entry *e)
{
    return e->type == TYPE_STRING && e->encoding == ENC_BLOCK &&
           ((const struct entry_block *)entry_pointer(e))->size > COMPRESS_STRING_MAX;
}

/* The entry is old; it is new from here on. `db`: at the cut. */
static void write_entry(struct shard *s, uint32_t db, struct entry *e)
{
    struct snapshot *sn = s->snapshot;
    assert((e->flags & ENTRY_COLOUR) != s->colour);
    e->flags ^= ENTRY_COLOUR;
    if (sn->abandoned)
        return;
    sn->counts.keys_written++;
    if (e->type != TYPE_STRING) {
        struct value v = db_value_of(e);
        if (view_is_needed(&v)) {
            begin_writing(s, db, e, &v);
            return;
        }
    }
    struct buf *out = output(sn, db);
    write_head(s, out, e);
    rdb_write_entry_value(out, e, sn->options.compress && !is_long_string(e));
}

void snapshot_preserve(struct shard *s, uint32_t db, struct entry *e)
{
    assert(snapshot_active(s));
    write_entry(s, s->dbs[db].cut_db, e);
    s->snapshot->counts.preserved += !s->snapshot->abandoned;
}

/* --- The sweep --- */

struct batch {
    struct shard *shard;
    uint32_t db;
    uint32_t count;
    uint64_t visited;
    struct entry *entries[BATCH_ITEMS * 2];
};

static void write_batch(struct batch *b)
{
    for (uint32_t i = 0; i < b->count; i++)
        if ((b->entries[i]->flags & ENTRY_COLOUR) != b->shard->colour)
            write_entry(b->shard, b->db, b->entries[i]);
    b->count = 0;
}

static void gather(void *context, void *item, struct table_place at)
{
    struct batch *b = context;
    if (b->count == sizeof(b->entries) / sizeof(b->entries[0]))
        write_batch(b);
    table_prefetch(item);
    table_prefetch((const char *)item + TABLE_ITEM_AHEAD);
    b->entries[b->count++] = item;
    b->visited++;
}

/* Goes on with one table, by a bucket at least; leaves 0 in *position at its end. Returns about
 * what it has cost. */
static size_t step_table(struct shard *s, struct table *keys, uint64_t *position, uint32_t db,
                         size_t budget)
{
    size_t before = s->snapshot->out.size;
    struct batch b;
    b.shard = s;
    b.db = db;
    b.count = 0;
    b.visited = 0;
    uint64_t items = 1 + budget / ITEM_SIZE_USUAL;
    items = items < BATCH_ITEMS ? items : BATCH_ITEMS;
    *position = table_scan(keys, *position, items, BATCH_BUCKETS, false, gather, &b);
    write_batch(&b);
    return s->snapshot->out.size - before + b.visited * ENTRY_COST + ENTRY_COST;
}

static void mark_swept(struct snapshot *sn, struct db *db)
{
    assert(!db->cut_swept && sn->unswept > 0);
    db->cut_swept = true;
    sn->unswept--;
}

/* SWAPDB may bring one to where the sweep has been. */
static size_t step_dbs(struct shard *s, size_t budget)
{
    struct snapshot *sn = s->snapshot;
    while (s->dbs[sn->db_at].cut_swept)
        sn->db_at = (sn->db_at + 1) % s->keyspace->db_count;
    struct db *db = &s->dbs[sn->db_at];
    size_t cost = step_table(s, &db->keys, &db->cut_position, db->cut_db, budget);
    if (db->cut_position == 0)
        mark_swept(sn, db);
    return cost;
}

/* --- Flushed databases --- */

/* Of the shard's memory, the share that so many of its keys have. */
static size_t memory_share(const struct shard *s, const struct table *keys)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < s->keyspace->db_count; i++)
        all += s->dbs[i].keys.count;
    double bytes = (double)(s->heap.used_bytes + s->block_bytes);
    return table_memory(keys) + (size_t)(bytes * (double)keys->count / (double)all);
}

void snapshot_take_keys(struct shard *s, struct db *db)
{
    struct snapshot *sn = s->snapshot;
    if (db->cut_swept)
        return;
    mark_swept(sn, db);
    if (sn->abandoned || db->keys.count == 0)
        return;
    struct flushed *f = mem_alloc(sizeof(*f));
    *f = (struct flushed){
        .next = sn->flushed, .keys = db->keys, .position = db->cut_position, .db = db->cut_db,
        .memory = memory_share(s, &db->keys),
    };
    table_init(&db->keys, f->keys.type, f->keys.context);
    sn->flushed = f;
}

static void free_flushed(struct shard *s)
{
    struct flushed *f = s->snapshot->flushed;
    s->snapshot->flushed = f->next;
    garbage_add_keys(s, &f->keys);
    table_deinit(&f->keys);
    mem_free(f);
}

static size_t step_flushed(struct shard *s, size_t budget)
{
    struct flushed *f = s->snapshot->flushed;
    size_t cost = step_table(s, &f->keys, &f->position, f->db, budget);
    if (f->position == 0)
        free_flushed(s);
    return cost;
}

/* --- From the cut to the end --- */

static void clear_output(struct snapshot *sn)
{
    buf_deinit(&sn->out);
    buf_deinit(&sn->rest);
    sn->ended = false;
    sn->open = 0;
    sn->out_db = NO_DB;
}

void snapshot_begin(struct shard *s, const struct snapshot_options *o)
{
    assert(!snapshot_active(s));
    if (!s->snapshot)
        s->snapshot = mem_alloc_zeroed(sizeof(*s->snapshot));
    struct snapshot *sn = s->snapshot;
    assert(!sn->first && !sn->flushed);
    clear_output(sn);
    *sn = (struct snapshot){.active = true, .options = *o, .out_db = NO_DB, .last = &sn->first};
    s->colour ^= ENTRY_COLOUR;
    for (uint32_t i = 0; i < s->keyspace->db_count; i++) {
        struct db *db = &s->dbs[i];
        db->cut_position = 0;
        db->cut_db = i;
        db->cut_swept = db->keys.count == 0;
        sn->unswept += !db->cut_swept;
        sn->counts.keys_total += db->keys.count;
        sn->counts.keys_expiring += db->expiring_count;
    }
}

bool snapshot_active(const struct shard *s)
{
    return s->snapshot && s->snapshot->active;
}

bool snapshot_step(struct shard *s, size_t budget)
{
    struct snapshot *sn = s->snapshot;
    if (!snapshot_active(s))
        return false;
    for (size_t cost = 0; cost < budget;) {
        if (sn->first) {
            cost += step_writing(s, budget - cost);
        } else if (sn->flushed) {
            cost += step_flushed(s, budget - cost);
        } else if (sn->unswept > 0) {
            cost += step_dbs(s, budget - cost);
        } else {
            assert(sn->abandoned || sn->counts.keys_written == sn->counts.keys_total);
            sn->active = false;
            return false;
        }
    }
    return true;
}

/* The record of the first view has come to a piece, or goes on; it is next, or behind the rest of
 * the one before. */
static bool has_record_piece(const struct snapshot *sn)
{
    if (!sn->first || sn->options.whole_max == 0)
        return false;
    size_t size = sn->first->record.size;
    return sn->first->number ? size > 0 : size > sn->options.whole_max;
}

size_t snapshot_output_size(const struct shard *s)
{
    const struct snapshot *sn = s->snapshot;
    if (!sn)
        return 0;
    bool out = !sn->open || sn->ended;
    return sn->rest.size + (out ? sn->out.size : 0) +
           (has_record_piece(sn) ? sn->first->record.size : 0);
}

static void take_record_piece(struct shard *s, struct buf *to, struct snapshot_piece *piece)
{
    struct snapshot *sn = s->snapshot;
    struct writing *w = sn->first;
    if (!w->number) /* the shard's index makes it the only one in the file */
        w->number = sn->open = ++sn->numbers * s->keyspace->shard_count + s->index;
    assert(w->number == sn->open);
    *piece = (struct snapshot_piece){.record = w->number, .goes_on = true};
    *to = w->record;
    buf_init(&w->record);
}

static void take_rest(struct snapshot *sn, struct buf *to, struct snapshot_piece *piece)
{
    *piece = (struct snapshot_piece){.record = sn->open};
    *to = sn->rest;
    buf_init(&sn->rest);
    sn->ended = false;
    sn->open = 0;
}

bool snapshot_take_output(struct shard *s, struct buf *to, struct snapshot_piece *piece)
{
    struct snapshot *sn = s->snapshot;
    assert(to->size == 0);
    buf_deinit(to);
    *piece = (struct snapshot_piece){0};
    if (!sn)
        return false;
    if (sn->ended) {
        take_rest(sn, to, piece);
    } else if (!sn->open && sn->out.size) {
        *to = sn->out;
        buf_init(&sn->out);
        sn->out_db = NO_DB;
    } else if (has_record_piece(sn)) {
        take_record_piece(s, to, piece);
    } else {
        return false;
    }
    return true;
}

uint64_t snapshot_open_record(const struct shard *s)
{
    return s->snapshot ? s->snapshot->open : 0;
}

void snapshot_abandon(struct shard *s)
{
    struct snapshot *sn = s->snapshot;
    if (!sn)
        return;
    sn->abandoned = true;
    while (sn->first)
        end_writing(s);
    while (sn->flushed)
        free_flushed(s);
    clear_output(sn);
}

void snapshot_count(const struct shard *s, struct snapshot_counts *counts)
{
    const struct snapshot *sn = s->snapshot;
    if (!sn) {
        *counts = (struct snapshot_counts){0};
        return;
    }
    *counts = sn->counts;
    counts->memory = sn->out.size + sn->rest.size;
    for (const struct writing *w = sn->first; w; w = w->next)
        counts->memory += sizeof(*w) + w->record.size + view_memory(w->view);
    for (const struct flushed *f = sn->flushed; f; f = f->next)
        counts->memory += f->memory;
}

void snapshot_deinit(struct shard *s)
{
    snapshot_abandon(s);
    mem_free(s->snapshot);
    s->snapshot = NULL;
}
