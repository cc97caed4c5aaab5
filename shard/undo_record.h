/* Undo's records: what undo.c, undo_commands.c and undo_element.c share. No one else includes this.
 *
 * A record is of one key and knows how to restore it (`restore`). Kinds with more to remember begin
 * with a struct undo_record. Records, and all that they point to, lie in the undo's chunks, which
 * go at once; only a value that is `owned` has memory of its own.
 *
 * A record *covers* its key when restoring it does so whatever the key has become: as later records
 * are taken back first, those of a covered key would have no effect, and none are made. */
#pragma once

#include "shard/db_value.h"
#include "shard/undo.h"

struct undo_record {
    struct undo_record *older;
    struct undo_record *bucket_next; /* of a record that covers its key */
    /* Restores; the place is where the key is now. */
    void (*restore)(struct undo_record *r, struct place *p);
    struct shard *shard;
    uint64_t hash;
    struct slice key;
    uint32_t db;
    bool covers;
    bool owned;         /* `was` leads to a value of this record */
    struct entry *was;  /* a copy: header, expiry and key, of UNDO_WHOLE the value too; NULL: there
                         * was no key */
};

/* A part of a collection, or the place of one that was not there. */
struct undo_item {
    struct undo_item *next;
    bool present;
    union {
        double score;      /* sorted sets */
        int64_t expires_ms; /* hashes */
        uint64_t index;    /* lists */
    };
    struct slice text;  /* member, field or element */
    struct slice value; /* hashes */
};

struct undo_items {
    struct undo_item *first, **end;
};

/* Memory of the undo, or NULL where it has as much as it may. */
void *undo_alloc(struct undo *u, size_t size);
/* A copy in it; false as above. */
bool undo_copy(struct undo *u, struct slice bytes, struct slice *copy);
/* A further item with a copy of `text`; NULL as above. */
struct undo_item *undo_item_add(struct undo *u, struct undo_items *items, struct slice text);

/* Where an argument's key is, or any key; one that has expired is as absent, and stays. */
struct place undo_place(struct call *c, uint32_t arg);
struct place undo_place_of(struct call *c, struct slice key, uint32_t db);

/* True where nothing more is to be noted of the key. */
bool undo_is_covered(const struct undo *u, const struct place *p);
/* The key changes from here on in ways that its record does not cover. */
void undo_uncover(struct undo *u, const struct place *p);
/* A record of `size` bytes of the place's key, with its front in `was`; NULL: no memory. It counts
 * once undo_add has been told. */
struct undo_record *undo_record_of(struct undo *u, const struct place *p, size_t size,
                                   void (*restore)(struct undo_record *r, struct place *p));
void undo_add(struct undo *u, struct undo_record *r);
/* Gives a key that is there its expiry and its clock back. */
void undo_restore_front(const struct undo_record *r, struct place *p);

/* What is noted of a key; each returns false where that is too much to keep, having noted nothing.
 * All but undo_note_front look first whether the key is covered, or absent. */

/* The value and all. */
bool undo_note_whole(struct undo *u, struct place *p);
/* Whether that is little work: else another way is tried first. */
bool undo_is_cheap(const struct place *p);
/* The expiry and the clock of a key that is there: nothing else changes. */
bool undo_note_front(struct undo *u, struct place *p);
/* The same as undo_note_whole for a key that is certain to be removed or overwritten, without
 * having been looked at. A large value is taken out of the keyspace; a placeholder is left. */
bool undo_note_lost(struct undo *u, struct place *p);
/* A key that is certain to become the other, which was noted already. It must be noted last. */
bool undo_note_moved(struct undo *u, struct place *from, struct place *to);

/* --- The commands (undo_commands.c) and their notes on parts (undo_element.c) --- */

/* undo_note, but that where it returns false something may have been noted. */
bool undo_command_note(struct undo *u, struct call *c, const uint32_t *keys, uint32_t key_count);

/* What is being noted. */
struct undo_noting {
    struct undo *undo;
    struct call *call;
    const uint32_t *keys;
    uint32_t key_count;
    int16_t first, step; /* the command's own: see undo_commands.c */
};

typedef bool undo_notes(const struct undo_noting *n);

/* True where parts of the value are to be noted, which is of that type; else `*noted` says how the
 * note ended: with the whole key, or with its front where the command cannot change it. */
bool undo_wants_parts(struct undo *u, struct place *p, enum entry_type_id type, bool *noted);
/* The value that a record restores parts of, a new one where it has gone; and its putting back. */
struct value undo_restore_begin(struct undo_record *r, struct place *p);
void undo_restore_end(struct undo_record *r, struct place *p, struct value *v);

/* The arguments that are members, fields: from `first` in steps of `step`; 0: that one alone; below
 * 0: from the last argument down to `first`. Those that are none by then do no harm. */
undo_notes undo_note_members, undo_note_scores, undo_note_fields;
/* `first`: how the command says where it writes. */
enum { UNDO_BYTES_BEHIND, UNDO_BYTES_AT, UNDO_BYTES_BIT };
undo_notes undo_note_bytes;
/* `first`: an enum zset_range_kind. */
undo_notes undo_note_score_range;
undo_notes undo_note_message;

/* How many a command pops: `first` is the argument that says it, or none does, or the third behind
 * the keys. */
enum { UNDO_POP_ONE = 0, UNDO_POP_ANY = -1 };
uint64_t undo_pop_count(const struct undo_noting *n);
/* `step`: from which end. The last one is that of the highest scores, or the tail; SAID: as the
 * argument behind the keys says. */
enum { UNDO_END_FIRST, UNDO_END_LAST, UNDO_END_SAID };
/* True where it is the last; `last` is the word for it. */
bool undo_pops_last(const struct undo_noting *n, const char *last);
undo_notes undo_note_zset_pop, undo_note_list_pop;

/* `first`: the end that is pushed to, an enum list_end. */
undo_notes undo_note_push;
undo_notes undo_note_list_set, undo_note_list_insert, undo_note_list_remove, undo_note_list_trim;
/* `step` above 0: from the tail to the head; else as arguments 3 and 4 say. `first`: whether what
 * follows them may still be wrong. */
enum { UNDO_MOVE_CERTAIN, UNDO_MOVE_WAITS };
undo_notes undo_note_list_move;
