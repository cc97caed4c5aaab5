/* Lists.
 *
 * Encodings: ENC_LISTPACK, `data` is the listpack of the whole list; ENC_QUICKLIST, `data` is a
 * struct quicklist. When a list changes from one to the other is Redis 7.2's rule, which clients
 * see in OBJECT ENCODING: it stays one listpack while that is within list-max-listpack-size,
 * counting what is about to be added; and becomes one again when a removal leaves one node of half
 * that. Functions that change a list do both.
 *
 * Values given must not be part of the list that is changed. Indexes count from 0, and are within
 * the list but where noted. */
#pragma once

#include "shard/type/quicklist.h"
#include "shard/type/value.h"

enum list_end { LIST_HEAD, LIST_TAIL };

uint64_t list_count(const struct value *v);

/* Pushes values one after the other. */
void list_push(struct value *v, const struct keyspace_options *o, enum list_end end,
               const struct slice *values, uint32_t count);
/* Before the element at `index`, or at the end where that is the count. */
void list_insert(struct value *v, const struct keyspace_options *o, uint64_t index,
                 struct slice value);
void list_replace(struct value *v, const struct keyspace_options *o, uint64_t index,
                  struct slice value);
/* Removes the first or the last element. */
void list_drop(struct value *v, const struct keyspace_options *o, enum list_end end);
/* Moves the element at one end of a list that is not empty to the other. */
void list_rotate(struct value *v, const struct keyspace_options *o, enum list_end from);
/* Removes `count` elements from `index` on, all of which exist. */
void list_delete(struct value *v, const struct keyspace_options *o, uint64_t index,
                 uint64_t count);
/* Removes the first `max` elements that equal `value`, or the last. Returns how many it was. */
uint64_t list_remove(struct value *v, const struct keyspace_options *o, struct slice value,
                     uint64_t max, bool backward);

/* Loading. Makes a listpack that is not empty, which is taken, the last node of the list; it stays
 * as it is, whatever the limits. A list with one such node within the bound is that listpack. */
void list_append_node(struct value *v, const struct keyspace_options *o, unsigned char *lp);
/* Appends an element that has a node of its own. */
void list_append_plain(struct value *v, const struct keyspace_options *o, struct slice value);

/* The first or last element of a list that is not empty. `scratch` has NUMBER_INTEGER_SIZE_MAX
 * bytes. Good until the list changes. */
struct slice list_peek(const struct value *v, enum list_end end, char *scratch);

/* A walk over a list that does not change meanwhile. */
struct list_cursor {
    const struct quicklist_node *node; /* NULL where the list is one listpack */
    const unsigned char *bytes;        /* of the listpack or the plain node */
    unsigned char *unpacked;           /* `bytes`, where they are the cursor's own */
    uint32_t at;                       /* LISTPACK_NONE: behind the last element */
    bool backward;
    bool plain;
};

/* Starts at an index, which may be outside of the list: then there is nothing to see. */
void list_cursor_start(struct list_cursor *c, const struct value *v, uint64_t index,
                       bool backward);
static inline bool list_cursor_ended(const struct list_cursor *c)
{
    return c->at == LISTPACK_NONE;
}
void list_cursor_next(struct list_cursor *c);
/* The element as text, good until the cursor moves. */
struct slice list_cursor_text(const struct list_cursor *c, char *scratch);
bool list_cursor_equal(const struct list_cursor *c, struct slice value);
void list_cursor_stop(struct list_cursor *c);

/* For tests: aborts on a broken invariant. */
void list_check(const struct value *v);
