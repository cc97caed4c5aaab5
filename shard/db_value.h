/* The insides of db.h: what db.c, db_value.c, garbage.c, rdb_load.c, sweep.c, undo*.c and watch.c
 * share. No one else includes this.
 *
 * An entry and its value are freed apart: db_release_value frees what a value holds beside its
 * entry, and only the functions that say so call it. That is how a block changes its owner
 * without a copy. */
#pragma once

#include "shard/db.h"
#include "shard/snapshot.h"

/* Before an entry changes or goes: where a snapshot has yet to write it, it does so now. Without
 * one under way all entries have the shard's colour. */
static inline __attribute__((always_inline)) void db_preserve(const struct place *p)
{
    struct shard *s = p->shard;
    if (__builtin_expect((p->entry->flags ^ s->colour) & ENTRY_COLOUR, 0))
        snapshot_preserve(s, (uint32_t)(p->db - s->dbs), p->entry);
}

/* A new entry's clock: LRU seconds, or LFU minutes with the initial counter. */
uint32_t db_clock_fresh(const struct shard *s);

/* The slow half of db_place_at. */
void db_place_again(struct place *p);

/* Where the table holds the place's entry now. */
static inline struct table_place db_place_at(struct place *p)
{
    if (__builtin_expect(p->version != p->db->version, 0))
        db_place_again(p);
    return p->at;
}

/* The place of an entry met in the table. Its key is the entry's own. */
struct place db_place_of(struct shard *s, struct db *db, struct entry *e);

/* Where a key is, one that has expired too; nothing is touched, counted or removed. */
struct place db_place_as_is(struct shard *s, uint32_t db, struct slice key, uint64_t hash);

/* Gives the place the value, expiry and clock of `was`, a copy of an entry that is in no database.
 * What the copy has beside it becomes the key's. */
void db_put_entry(struct place *p, const struct entry *was);
/* Leaves a string in place of the key's value, which is no longer accounted for: whoever has a copy
 * of the entry has it. Expiry and clock stay. */
void db_set_aside(struct place *p);

/* Frees what the value holds beside its entry: a large collection later, where `lazy`. */
void db_release_value(struct shard *s, struct entry *e, bool lazy);
/* The value of a collection's entry. */
static inline struct value db_value_of(const struct entry *e)
{
    return (struct value){(uint8_t)e->type, (uint8_t)e->encoding, entry_pointer(e)};
}
/* Removes the key and its entry, and leaves its value alone. */
void db_drop(struct place *p);
/* Removes a key whose time has come, or because memory is short, and counts it. Those who wait for
 * it or have seen it learn of it. */
void db_expire(struct place *p);
void db_evict(struct place *p);
/* Those who have seen a key, and go by that, learn that it has changed. `client`: who did it, 0:
 * nobody. */
void db_tell_watching(struct place *p, uint64_t client);
/* True where a hash has fields whose time has come. */
bool db_fields_due(const struct entry *e, int64_t now_ms);
/* Removes the fields of a hash whose time has come, at most `max`, and the hash with its last one.
 * Returns how many. */
uint64_t db_expire_fields(struct place *p, int64_t now_ms, uint64_t max);
