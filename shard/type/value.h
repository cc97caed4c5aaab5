/* A collection's value: what an entry that is no string holds.
 *
 * An entry has a type, an encoding and one pointer. A `struct value` is that triple outside of the
 * entry: loaded (db_value), changed by the type's functions, which may give it another encoding and
 * another pointer, and put back (db_keep). Small collections are packed in one block (listpack,
 * intset), so the pointer leads straight to the bytes; each type's header says which encodings it
 * has and what `data` is in each.
 *
 * Types allocate with mem_alloc and belong to no shard: a value may be moved to another shard as it
 * is. They are single-threaded. Each type describes itself to the keyspace by one value_ops. */
#pragma once

#include "shard/keyspace.h"
#include "shard/type/entry.h"

struct value {
    uint8_t type;     /* enum entry_type_id, not TYPE_STRING */
    uint8_t encoding; /* enum entry_encoding: one that the type has */
    void *data;
};

/* A source of random numbers, all 64 bits of which are random. */
struct value_random {
    uint64_t (*next)(void *context);
    void *context;
};

static inline uint64_t value_random_next(const struct value_random *r)
{
    return r->next(r->context);
}

/* A number below `bound` (1 to 2^32), each with the same chance but for 2^-32. */
static inline uint64_t value_random_below(const struct value_random *r, uint64_t bound)
{
    return (value_random_next(r) >> 32) * bound >> 32;
}

/* Is told each field that goes, before it does. */
struct value_gone {
    void (*visit)(void *context, struct slice field);
    void *context;
};

struct mem_move;

struct value_ops {
    /* An empty value, in the smallest encoding; to be filled or freed. */
    struct value (*create)(const struct keyspace *k);
    /* Elements, fields or messages, of a hash those that have expired unseen included. */
    uint64_t (*count)(const struct value *v);
    /* Bytes held, in O(1): mem_usable of all that was allocated for it. */
    size_t (*memory)(const struct value *v);
    /* The allocations that freeing it takes, roughly: a large one is freed in steps. O(1). */
    uint64_t (*parts)(const struct value *v);
    /* Frees about *budget allocations and takes them off *budget; true when nothing is left. Until
     * then the value can only be freed on. */
    bool (*free_some)(struct value *v, uint64_t *budget);
    /* Compaction: goes on at `position` (0: at the start), looks at about *budget of the value's
     * blocks, which it takes off *budget, and has those moved that `m` wants; v->data may change.
     * Returns where to go on, 0 at the end. What comes or goes in between may be passed over. Not
     * under a view. */
    uint64_t (*move)(struct value *v, uint64_t position, uint64_t *budget,
                     const struct mem_move *m);
    /* A deep copy. */
    struct value (*copy)(const struct value *v);
    /* What OBJECT ENCODING says. */
    const char *(*encoding_name)(const struct value *v);
    /* Hashes: the earliest expiry of a field (or a moment before it), INT64_MAX for none. NULL for
     * other types. */
    int64_t (*next_due_ms)(const struct value *v);
    /* Hashes: removes fields whose time has come, at most `max` (but for what is left of a slice);
     * returns how many. `gone` may be NULL. NULL for other types. */
    uint64_t (*remove_due)(struct value *v, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone);
};

extern const struct value_ops list_ops;
extern const struct value_ops set_ops;
extern const struct value_ops zset_ops;
extern const struct value_ops hash_ops;
extern const struct value_ops stream_ops;

const struct value_ops *value_ops_of(unsigned type);

static inline uint64_t value_count(const struct value *v)
{
    return value_ops_of(v->type)->count(v);
}

static inline size_t value_memory(const struct value *v)
{
    return value_ops_of(v->type)->memory(v);
}

/* What a move has done, taken off its budget. */
static inline void value_spend(uint64_t *budget, uint64_t done)
{
    *budget -= done < *budget ? done : *budget;
}

/* Frees it whole. */
void value_free(struct value *v);
