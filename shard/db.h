/* Keys in their databases: what command bodies find, change and remove.
 *
 * A *place* is where a key is, or would be: db_find returns one, and the functions that change the
 * key take it. A place stays good until its own key is changed through another place; the functions
 * here keep the one they are given good. (Keys that come and go beside it may move it in the table:
 * it then finds itself again.) Expired keys do not exist: db_find removes them.
 *
 * Values: a string is held as an integer ("int"), inside the entry ("embstr" up to 44 bytes,
 * "raw"), or in a block of its own ("raw") when long. Commands do not see the difference but
 * through db_encoding_name. Ownership: db copies what it is given and frees what it replaces. */
#pragma once

#include "shard/call.h"
#include "shard/type/entry.h"
#include "shard/type/value.h"

/* What a look for a key does besides. */
#define DB_TOUCHES (1u << 0) /* notes an access (LRU, LFU), unless the call says not to */
#define DB_COUNTS (1u << 1)  /* counts a hit or a miss */
#define DB_TELLS (1u << 2)   /* notifies of a miss ("keymiss") */
#define DB_CHANGES (1u << 3) /* the value may be changed */
#define DB_KEEPS (1u << 4)   /* finds what has expired as well, and leaves it there */

enum db_mode {
    DB_READ = DB_TOUCHES | DB_COUNTS | DB_TELLS,
    DB_WRITE = DB_TOUCHES | DB_CHANGES,
    DB_UPDATE = DB_READ | DB_CHANGES, /* reading that may write all the same (XACK, XREADGROUP) */
    DB_LOOK = DB_COUNTS,              /* OBJECT */
    DB_PEEK = 0,                      /* DEBUG */
    DB_PEEK_AS_IS = DB_KEEPS,         /* DEBUG OBJECT */
};

struct place {
    struct shard *shard;
    struct db *db;
    struct entry *entry;   /* NULL: no such key */
    struct slice key;      /* the caller's, borrowed */
    uint64_t hash;
    struct table_place at; /* where the table held the entry ... */
    uint64_t version;      /* ... when db->version was this */
    size_t held;           /* what a collection held when it was found for writing: what is
                            * accounted for until it is put back; DB_HELD_NOW: what it holds now */
};

#define DB_HELD_NOW SIZE_MAX

/* Expiry arguments of the functions below. */
#define DB_NO_EXPIRY ((int64_t)-1)
#define DB_KEEP_EXPIRY ((int64_t)-2)

/* The key that is argument `arg`, in the call's database. */
struct place db_find(struct call *c, uint32_t arg, enum db_mode mode);
/* Any key in any database (of the shard that it lives on). */
struct place db_find_key(struct call *c, struct slice key, uint32_t db, enum db_mode mode);

/* The type of a key (enum entry_type_id), -1 where there is none. Touches and counts nothing. */
int db_type(const struct shard *s, uint32_t db, struct slice key, int64_t now_ms);

/* The place's value as bytes. `scratch` (NUMBER_INTEGER_SIZE_MAX bytes) is used where it is an
 * integer. Good until the key changes. The entry is a string. */
struct slice db_string(const struct place *p, char *scratch);
static inline bool db_is_string(const struct place *p)
{
    return entry_type(p->entry) == TYPE_STRING;
}
/* True, with the value, where the entry is held as an integer. */
bool db_string_integer(const struct place *p, int64_t *value);

/* Creates the key or replaces its value, whatever its type was. An expiry is in ms since the
 * epoch, DB_NO_EXPIRY or DB_KEEP_EXPIRY. db_put_string tries the integer encoding; `value` is no
 * part of the value that it replaces. */
void db_put_string(struct place *p, struct slice value, int64_t expires_ms);
/* The same without trying: a float that comes out whole stays text, as in Redis. */
void db_put_text(struct place *p, struct slice value, int64_t expires_ms);
void db_put_integer(struct place *p, int64_t value, int64_t expires_ms);
/* Makes the string writable bytes ("raw") of exactly `size`, created when absent, zero-filled
 * where it grew, shortened where it was longer; keeps the expiry. Returns the bytes; they are
 * good until the next change. Appending is amortized O(bytes added). */
char *db_string_bytes(struct place *p, size_t size);

/* Collections. A command that changes one finds it for writing (db_find_type), loads its value
 * (db_value), changes that by the type's functions, puts it back (db_keep) before anything else
 * happens to the key, and says so (db_changed). Between db_value and db_keep the entry must not be
 * looked at.
 *
 * As db_find, but false, having replied with Redis's error, where the key is of another type. */
bool db_find_type(struct call *c, uint32_t arg, enum db_mode mode, enum entry_type_id type,
                  struct place *p);
/* The key's value; of an absent key a new, empty one. To be put back with db_keep if it was changed
 * or the key is absent. */
struct value db_value(const struct place *p, enum entry_type_id type);
/* Puts the value back: a new key gets it without an expiry, a present one keeps its own. The key
 * is removed where nothing is left in it, but for a stream. */
void db_keep(struct place *p, struct value *v);
/* Creates the key or replaces its value, whatever its type was, with one that now is the key's. */
void db_put_value(struct place *p, struct value v, int64_t expires_ms);

/* Removes the key; the place then says it is absent. db_delete frees a large value as
 * lazyfree-lazy-server-del says, the other as told. */
void db_delete(struct place *p);
void db_delete_as(struct place *p, bool lazy);

/* Expiry of the entry in ms since the epoch, or DB_NO_EXPIRY. */
int64_t db_expiry(const struct place *p);
/* Sets or (DB_NO_EXPIRY) removes it. */
void db_set_expiry(struct place *p, int64_t expires_ms);

/* Gives `to` (which may exist: it is replaced) the value and expiry of `from`. db_move removes
 * `from`. The two may be of different shards and databases, and must be different keys. A move
 * keeps the time of the last access, a copy is new. Both places stay good. */
void db_move(struct place *from, struct place *to);
void db_copy(const struct place *from, struct place *to);

/* Says that the command changed the key, which may be gone now: those who wait for it are served
 * after the command, and watchers, notifications and the journal will hang on it. The functions
 * above do not say it; the command does, once, after its change. */
void db_changed(struct call *c, struct place *p);
/* The same where the key is there still and the change has nothing for those who wait for it, as
 * when one of many consumers of a stream acknowledges a message. */
void db_changed_quietly(struct call *c, struct place *p);
/* The same as db_changed for the other key of a move, which counts as one change. */
void db_changed_too(struct call *c, struct place *p);

/* db_notify's other half: the notification was asked for. */
void db_notify_asked(const struct place *p, const char *name);
/* Records a keyspace notification, where its class (one NOTIFY_... bit of event.h) was asked for.
 * After the change, in the order that Redis has them; the place may be of a key that is gone. */
static inline __attribute__((always_inline)) void db_notify(const struct place *p, uint32_t class,
                                                            const char *name)
{
    if (__builtin_expect(p->shard->keyspace->options.notify & class, 0))
        db_notify_asked(p, name);
}
/* The same of something taken from a key that was there, and "del" where the key went with it. */
static inline __attribute__((always_inline)) void db_notify_taken(const struct place *p,
                                                                  uint32_t class, const char *name)
{
    if (__builtin_expect(!p->shard->keyspace->options.notify, 1))
        return;
    db_notify(p, class, name);
    if (!p->entry)
        db_notify(p, NOTIFY_GENERIC, "del");
}

/* What OBJECT ENCODING says. */
const char *db_encoding_name(const struct place *p);
/* "string", ... as TYPE says it. */
const char *db_type_name(const struct place *p);
/* Bytes that the key holds: its entry, what its value has beside it, its share of a bucket. */
size_t db_memory(const struct place *p);
/* What an entry's clock says at a time: seconds since the last access, which is of use without LFU;
 * with LFU, the access counter, decayed. */
uint32_t db_clock_idle_s(uint32_t clock, int64_t now_ms);
uint32_t db_clock_frequency(const struct keyspace_options *o, uint32_t clock, int64_t now_ms);
/* Time since the last access, in steps of a second; of use without LFU. */
uint64_t db_idle_ms(const struct place *p);
/* With LFU: the access counter, decayed to now. */
uint32_t db_frequency(const struct place *p);
/* Sets the first where maxmemory-policy is no LFU one, the second (0 to 255) where it is; otherwise
 * they do nothing. */
void db_set_idle(struct place *p, uint64_t idle_s);
void db_set_frequency(struct place *p, uint32_t frequency);

/* Keys of this shard in a database. */
uint64_t db_key_count(const struct shard *s, uint32_t db);
/* A random key that has not expired, or NULL where there is none. Removes the expired keys it
 * meets. */
struct entry *db_random(struct shard *s, uint32_t db);
/* Removes all keys of one database of this shard. `lazy`: frees them later. */
void db_clear(struct shard *s, uint32_t db, bool lazy);
/* Exchanges two databases of this shard. */
void db_swap(struct shard *s, uint32_t a, uint32_t b);

/* Calls `visit` for keys that have not expired, from hash position `*position` (0 to start),
 * about `count` of them; leaves the next position, or 0 when all were visited, and returns how many
 * it has seen, expired ones among them. Keys present
 * during a whole pass over the positions are visited at least once, whatever is added or removed
 * between calls. `visit` must not change the database; expired keys met on the way are removed
 * after it. Positions fit in 48 bits. */
uint64_t db_scan(struct shard *s, uint32_t db, uint64_t *position, uint64_t count,
                 void (*visit)(void *context, struct entry *e), void *context);
