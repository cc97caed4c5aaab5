/* What DEBUG's files share: the commands themselves, and digests of data. Run in a cross
 * transaction of all shards, by the one thread that does not stand still. */
#pragma once

#include "shard/call.h"

#define DEBUG_DIGEST_SIZE 20

/* What a key looks like inside: DEBUG OBJECT, DEBUG LISTPACK, DEBUG HTSTATS-KEY. */
void debug_object(struct call *c);
void debug_listpack(struct call *c);
void debug_htstats_key(struct call *c);

/* A digest of all keys, values and databases, whatever the order of keys and the number of shards:
 * of the same data the same that Redis's DEBUG DIGEST gives. All zero where there are no keys. */
void debug_digest(struct call *c, unsigned char digest[DEBUG_DIGEST_SIZE]);
/* Of one key's value; all zero where there is no such key. */
void debug_digest_value(struct call *c, struct slice key, unsigned char digest[DEBUG_DIGEST_SIZE]);

/* Ways to end: DEBUG ASSERT, OOM, PANIC, SEGFAULT. */
void debug_assert(struct call *c);
void debug_oom(struct call *c);
void debug_panic(struct call *c);
void debug_segfault(struct call *c);
/* DEBUG STRUCTSIZE. */
void debug_structsize(struct call *c);

/* DEBUG LOADAOF, DEBUG RELOAD. */
void debug_loadaof(struct call *c);
void debug_reload(struct call *c);
