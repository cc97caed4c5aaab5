/* Garbage: large collections and flushed databases, freed in steps between other work.
 *
 * Freeing a million elements takes a tenth of a second. Instead of that, what is large is taken out
 * of sight at once and put on its shard's list, and the core frees some of it each time it goes
 * round. Single-threaded, like all of the shard. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shard/type/table.h"
#include "shard/type/value.h"

/* Values of more allocations than this are freed later. */
#define GARBAGE_PARTS_MIN 64

struct shard;
struct garbage_item;

struct garbage {
    struct garbage_item *first, *last;
    uint64_t count; /* items */
    uint64_t bytes; /* of values, and of tables without their keys; an item counts until its end */
};

/* Takes the value; its memory is no longer among the shard's block_bytes. */
void garbage_add_value(struct shard *s, struct value v);
/* Takes the table of a database with its entries, and leaves an empty one. */
void garbage_add_keys(struct shard *s, struct table *keys);
/* Frees about `budget` allocations. True while something is left. */
bool garbage_collect(struct shard *s, uint64_t budget);
