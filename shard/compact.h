/* Compaction: values and entries that lie thinly spread over pages are moved together, so that
 * pages become empty and their memory goes back to the system.
 *
 * Only the table points to an entry, and only the entry to its value, so both may be moved between
 * commands. A pass goes through
 * all databases by scan position, a bucket at a time, with commands running between. What lies
 * beside entries - the keyspace's table, strings' blocks, and every block of a collection, by its
 * type's value_ops.move - is copied block by block where the allocator's page is thinly used:
 * whoever runs the pass sees to it that copies come from fresh pages (mem_move_begin). A copy has
 * the usable size of its original, so no account of memory changes. Collections of many blocks take
 * several steps: between these they are known by key, and each keeps what is needed to go on. What
 * stays: strings that have pages of their own, and of streams the head, the radix trees' nodes and
 * the groups. Single-threaded, like all of the shard.
 *
 * Why nobody holds a pointer to what is moved. A step runs on the core's own thread at the end of
 * an iteration, so within no command, transaction or script:
 *   - places (db.h), SCAN's visits and the undo records of a script live within one command or run;
 *   - who waits, watches or tracks is known by key, the eviction's candidates by hash, cursors by
 *     hash position; requests that were prefetched have run;
 *   - the journal and events hold copies;
 *   - a snapshot's batch lives within one of its steps, and its views, which do point into values,
 *     only while it is active, when no step is made;
 *   - within a value: items are pointed to by their table's bucket, a sorted set's by a leaf and,
 *     where they are the first below it, inner nodes as well (btree_move_memory); nodes of lists
 *     and streams by their neighbours, the head, the radix tree and `moving`, the place where their
 *     own compaction goes on, which is put right when that node goes;
 *   - walks, indexes and iterators over values live within one command;
 *   - flushed databases and garbage are in no table that a pass goes through: what lies in pages
 *     that are to be emptied stays there until it is freed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mem_move;
struct shard;

/* A collection that takes several steps. */
struct compact_large {
    char *key; /* owned */
    size_t key_size;
    uint64_t position; /* of value_ops.move */
};

struct compaction {
    bool on;
    bool scanned; /* the database, but for what is in `large` */
    const struct mem_move *values; /* what lies beside entries is moved as that wants; NULL: not */
    uint32_t db;
    uint64_t position; /* of the scan, in that database */
    struct compact_large *large; /* met in the bucket looked at last */
    uint32_t large_count, large_cap;
};

/* Begins a pass. */
void compact_start(struct shard *s, const struct mem_move *values);
/* Goes through `buckets` buckets, or through some blocks of a large collection for each. False
 * where the pass has ended. Not while a snapshot is made, which may look at values from beside. */
bool compact_step(struct shard *s, uint64_t buckets);
/* Gives the pass up, if one is on. */
void compact_stop(struct shard *s);
