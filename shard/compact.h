/* Compaction: values and entries that lie thinly spread over pages are moved together, so that
 * pages become empty and their memory goes back to the system.
 *
 * Only the table points to an entry, and only the entry to its value, so both may be moved between
 * commands. A pass chooses the slab pages that are to be emptied (heap_evacuate), then goes through
 * all databases by scan position, a few buckets at a time, with commands running between. What lies
 * beside entries is copied where the allocator's page is thinly used: whoever runs the pass sees to
 * it that copies come from fresh pages (mem_move_begin). Collections of many parts, and strings
 * that have pages of their own, stay where they are. Single-threaded, like all of the shard.
 *
 * Why nobody holds a pointer to what is moved. A step runs on the core's own thread at the end of
 * an iteration, so within no command, transaction or script:
 *   - places (db.h), SCAN's visits and the undo records of a script live within one command or run;
 *   - who waits, watches or tracks is known by key, the eviction's candidates by hash, cursors by
 *     hash position; requests that were prefetched have run;
 *   - the journal and events hold copies;
 *   - a snapshot's batch lives within one of its steps, and its views, which do point into values,
 *     only while it is active, when no step is made;
 *   - flushed databases and garbage are in no table that a pass goes through: what lies in pages
 *     that are to be emptied stays there until it is freed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mem_move;
struct shard;

struct compaction {
    bool on;
    const struct mem_move *values; /* what lies beside entries is moved as that wants; NULL: not */
    uint32_t db;
    uint64_t position; /* of the scan, in that database */
};

/* Begins a pass. */
void compact_start(struct shard *s, const struct mem_move *values);
/* Goes through `buckets` buckets. False where the pass has ended. Not while a snapshot is made,
 * which may look at values from beside. */
bool compact_step(struct shard *s, uint64_t buckets);
