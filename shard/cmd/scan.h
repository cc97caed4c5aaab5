/* SCAN's cursors, for the router: which shard a cursor belongs to.
 *
 *     bits 0-7    the shard's index
 *     bits 8-55   the position in that shard's database, its 48 bits in reverse
 *
 * Positions use their high bits first, so reversed they make small numbers, which matters to
 * clients that keep a cursor in a double. Cursor 0 is the start of shard 0, and cursor n that of
 * shard n. */
#pragma once

#include "shard/call.h"

/* The shard that a SCAN call, which has at least a cursor (argv[1]), is to run on: a valid index, 0
 * where the cursor is malformed or names no shard. Any thread. */
uint32_t scan_cursor_shard(const struct call *c);
