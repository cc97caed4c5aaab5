/* What the commands on single bits and on bit fields share: offsets, and room to write in.
 *
 * Bits are numbered as Redis numbers them: bit 0 is the most significant bit of the first byte.
 * Called by command bodies, on the call's own thread. */
#pragma once

#include "shard/db.h"

/* Argument `arg` as a bit offset; false, having replied with the error, where it is none or lies
 * beyond the longest string allowed. With `width` above 0 the form "#n" is allowed too: n fields
 * of `width` bits on. */
bool bitmap_read_offset(struct call *c, uint32_t arg, unsigned width, uint64_t *offset);

/* The bytes of a string. */
struct bitmap_bytes {
    unsigned char *data;
    size_t size;
    bool grown; /* bytes were added, or the key was created */
};

/* Makes the place (absent, or a string) writable bytes that include bit `last`. Good until the
 * key's next change. */
struct bitmap_bytes bitmap_make_room(struct place *p, uint64_t last);
