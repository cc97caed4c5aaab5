/* The insides of hash.h: what hash.c, hash_packed.c, hash_table.c and hash_random.c share. Of
 * others view*.c alone include this.
 *
 * hash.c decides between the encodings and changes one to another; the packed_ and fields_
 * functions each know one of them. Both take a field for absent once its time has come. */
#pragma once

#include "shard/type/hash.h"
#include "shard/type/listpack.h"
#include "shard/type/table.h"

struct view;

typedef void hash_visit(void *context, const struct hash_pair *pair);

/* ---- Packed: hash_packed.c ---- */

/* What ENC_LISTPACK_EX points to. An expiry is held as an integer, 0 for none. */
struct packed_expiring {
    int64_t due_ms; /* the earliest expiry; HASH_NO_EXPIRY: no field has one */
    unsigned char *lp;
};

static inline bool hash_is_packed(const struct value *v)
{
    return v->encoding != ENC_TABLE;
}

static inline unsigned char *packed_bytes(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? v->data : ((struct packed_expiring *)v->data)->lp;
}

/* Elements that a field takes. */
static inline uint32_t packed_width(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? 2 : 3;
}

static inline int64_t packed_due_ms(const struct value *v)
{
    return v->encoding == ENC_LISTPACK ? HASH_NO_EXPIRY
                                       : ((struct packed_expiring *)v->data)->due_ms;
}

/* The field at a position; returns the position of the next. */
uint32_t packed_read(const struct value *v, uint32_t at, struct hash_pair *pair);
bool packed_get(const struct value *v, struct slice field, int64_t now_ms, struct hash_pair *pair);
/* With an expiry (not HASH_NO_EXPIRY) the hash is ENC_LISTPACK_EX already. */
bool packed_set(struct value *v, struct slice field, struct slice value, int64_t expires_ms,
                int64_t now_ms);
bool packed_set_expiry(struct value *v, struct slice field, int64_t expires_ms, int64_t now_ms);
bool packed_remove(struct value *v, struct slice field, int64_t now_ms);
uint64_t packed_remove_due(struct value *v, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone);
/* Visits the fields that have not expired. */
void packed_each(const struct value *v, int64_t now_ms, hash_visit *visit, void *context);
/* From ENC_LISTPACK to ENC_LISTPACK_EX. */
void packed_widen(struct value *v);
void packed_destroy(struct value *v);
struct value packed_copy(const struct value *v);
size_t packed_memory(const struct value *v);
void packed_check(const struct value *v);

/* ---- Tables: hash_table.c ---- */

/* What ENC_TABLE points to. An item's mark says that the field has an expiry. */
struct fields {
    struct table table;    /* of struct field_item; its context is the keyspace */
    size_t item_bytes;     /* mem_usable of the items and their blocks */
    uint64_t expiring;     /* fields with an expiry */
    int64_t due_ms;        /* no field's time comes before; HASH_NO_EXPIRY: none has one */
    uint64_t due_position; /* how far fields_remove_due is in its round; 0: at its start */
    int64_t round_due_ms;  /* the earliest expiry met in the round or set since it began */
    struct view *view;     /* open on it, or NULL */
};

struct field_item;

struct fields *fields_create(const struct keyspace *k);
/* Frees about *budget allocations; true when nothing is left, not even `f`. */
bool fields_free_some(struct fields *f, uint64_t *budget);
struct fields *fields_copy(const struct fields *f);
/* As value_ops.move, of all but the head. */
uint64_t fields_move(struct fields *f, uint64_t position, uint64_t *budget,
                     const struct mem_move *m);
size_t fields_memory(const struct fields *f);
void fields_read(const struct field_item *item, struct hash_pair *pair);
bool fields_get(const struct fields *f, struct slice field, int64_t now_ms,
                struct hash_pair *pair);
bool fields_set(struct fields *f, struct slice field, struct slice value, int64_t expires_ms,
                int64_t now_ms);
bool fields_set_expiry(struct fields *f, struct slice field, int64_t expires_ms, int64_t now_ms);
bool fields_remove(struct fields *f, struct slice field, int64_t now_ms);
/* Looks at no more than about `max` buckets, and goes on from there the next time. */
uint64_t fields_remove_due(struct fields *f, int64_t now_ms, uint64_t max,
                           const struct value_gone *gone);
/* As hash_live_count. */
uint64_t fields_count_live(const struct fields *f, int64_t now_ms, uint64_t max);
uint64_t fields_scan(const struct fields *f, uint64_t position, uint64_t count, int64_t now_ms,
                     hash_visit *visit, void *context);
/* Calls `visit` for every item whose field has not expired. */
void fields_each_item(const struct fields *f, int64_t now_ms,
                      void (*visit)(void *context, const struct field_item *item), void *context);
/* Whatever its expiry; NULL of an empty table. */
const struct field_item *fields_random(const struct fields *f, struct value_random random);
void fields_check(const struct fields *f);
