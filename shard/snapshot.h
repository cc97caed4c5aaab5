/* A shard's part in a snapshot: every entry as it was at the cut, serialized once, while commands
 * go on changing them.
 *
 * Colour: each entry carries one bit (ENTRY_COLOUR), and the shard says which colour is that of
 * entries that belong to the time after the cut. The cut turns the shard's colour over, which makes
 * every entry an old one. An old entry is serialized exactly once: by the sweep (snapshot_step), or
 * before the first change to it (snapshot_preserve, which db.h's functions call before a value is
 * replaced, an expiry set or a key removed, and when a collection is found for writing), and has
 * the shard's colour from then on; entries made after the cut have it from the start. When the
 * sweep has ended no old entry is left, so the next cut can turn the colour again. A database that
 * is flushed is taken over as a whole (its entries stay until they are written); databases that are
 * swapped take their progress along, and are written under the number that they had at the cut.
 *
 * Huge collections are written through views (type/view.h), so nothing here takes long, but for
 * strings: one of n bytes takes as long as copying it, and is compressed only up to 1 MiB. Views
 * are written one after the other, before the sweep goes on. A record is one run of bytes in the
 * file: where it is large it is taken in pieces, of which all but the last are marked as going on,
 * and until the last is taken no other record is. What is held for a snapshot is thus the output
 * that waits, what changes make the views keep, what was written before changes while a record goes
 * on, and flushed databases.
 *
 * Times of access are no part of the cut: they are written as they are when the entry is.
 *
 * Output are RDB records (expiry, type, key, value), preceded by a SELECT DB where the database
 * changes and at the start of every piece that is taken and does not go on with a record: such
 * pieces of several shards can follow each other in any order.
 *
 * On the thread that holds the shard. */
#pragma once

#include "proto/buf.h"
#include "shard/keyspace.h"

struct db;
struct entry;
struct shard;
struct snapshot;
struct value;

struct snapshot_options {
    bool compress; /* rdbcompression */
    bool clocks;   /* write idle times or frequencies: maxmemory-policy uses them */
    size_t whole_max; /* records that are longer are taken in pieces; 0: none is */
};

/* Where a piece stands: pieces with one number, but 0, are one record, and follow each other. */
struct snapshot_piece {
    uint64_t record; /* 0: it holds whole records */
    bool goes_on;    /* the record does not end with it */
};

struct snapshot_counts {
    uint64_t keys_total;   /* at the cut */
    uint64_t keys_written;
    uint64_t keys_expiring; /* at the cut: for RESIZE DB */
    uint64_t preserved;    /* written before a change rather than by the sweep */
    size_t memory;         /* held for it now: output not taken, views, flushed databases */
};

/* The cut: all keys of this shard as they are now. None is under way. */
void snapshot_begin(struct shard *s, const struct snapshot_options *o);
/* True from snapshot_begin to the end of the sweep. */
bool snapshot_active(const struct shard *s);
/* Serializes about `budget` bytes' worth of entries. False where nothing is left: the snapshot of
 * this shard has ended, its last output is to be taken. */
bool snapshot_step(struct shard *s, size_t budget);
/* Bytes of output that can be taken. */
size_t snapshot_output_size(const struct shard *s);
/* Takes a piece of it: the caller's buf, which is empty, receives it. False where there is none. A
 * piece may be empty where it ends a record. */
bool snapshot_take_output(struct shard *s, struct buf *to, struct snapshot_piece *piece);
/* The record of which a piece was taken, but not yet the last; 0: there is none. */
uint64_t snapshot_open_record(const struct shard *s);
/* Nobody wants the rest: it is not serialized, but the sweep has to go on to its end (quickly), for
 * the colours' sake. */
void snapshot_abandon(struct shard *s);
void snapshot_count(const struct shard *s, struct snapshot_counts *counts);

/* With the shard: ends what is under way. */
void snapshot_deinit(struct shard *s);

/* For db.c. The entry is old and about to change or go. */
void snapshot_preserve(struct shard *s, uint32_t db, struct entry *e);
/* A database is about to lose all its keys: where some of them are old, all become the snapshot's,
 * which writes them and has them freed in steps; the table is left empty. */
void snapshot_take_keys(struct shard *s, struct db *db);
/* A value with an open view goes with its entry: the view takes it. True where it did. */
bool snapshot_adopt(struct shard *s, struct value *v);
/* A value, which may have an open view, has moved to another shard; both are held. Where that shard
 * has ended its own part, or is in the midst of a record as this one is, the view is written to its
 * end at once, whatever time it takes. */
void snapshot_hand_over(struct shard *from, struct shard *to, struct value *v);
