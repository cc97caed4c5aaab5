/* Lines: who waits for which keys of this shard, the longest waiting first.
 *
 * A command that blocks has a *link* in the line of each of its keys, on the shards of those keys.
 * When a key may have got what is waited for, or is gone, its line is *ready*; the server takes the
 * ready lines after each command and serves those who wait (server/blocked.h). A line exists while
 * somebody stands in it. Links are the server's memory. Single-threaded, like all of the shard. */
#pragma once

#include "proto/slice.h"
#include "shard/type/table.h"

struct shard;
struct wait_line;

struct wait_link {
    struct wait_line *line; /* NULL: in none */
    struct wait_link *next, *previous;
    void *waiter;
    bool on_removal; /* it is served too when the key goes */
};

struct wait_line {
    uint64_t hash;
    struct wait_link *first, *last;
    uint32_t db;
    uint32_t count;    /* links */
    uint32_t removal_count; /* ... on_removal */
    uint32_t reserved; /* 1 while one is being served elsewhere: nobody may overtake that one */
    bool ready;        /* in the list of ready lines */
    struct wait_line *next_ready;
    size_t key_size;
    char key[];
};

struct wait_lines {
    struct table lines;
    uint64_t link_count;
    uint64_t removal_count; /* lines with somebody who is served when the key goes */
    struct wait_line *ready_first, *ready_last;
};

void wait_init(struct shard *s);
/* Nobody may stand in a line. */
void wait_deinit(struct shard *s);

/* Puts a link at the end of a key's line; false where it ends with this waiter already. */
bool wait_join(struct shard *s, uint32_t db, struct slice key, struct wait_link *link,
               void *waiter, bool on_removal);
void wait_leave(struct shard *s, struct wait_link *link);
/* Makes the line of a key ready, where there is one. */
void wait_signal(struct shard *s, uint32_t db, struct slice key);
/* ... of all keys of a database. */
void wait_signal_db(struct shard *s, uint32_t db);
/* Takes the line that has been ready the longest, or NULL. It may have emptied meanwhile. It is
 * good until wait_release. */
struct wait_line *wait_take_ready(struct shard *s);
/* The taken line has been served; it goes where nobody stands in it. */
void wait_release(struct shard *s, struct wait_line *line);
/* The line of a key, or NULL. */
struct wait_line *wait_find(const struct shard *s, uint32_t db, struct slice key);
/* Keys that somebody waits for. */
static inline uint64_t wait_line_count(const struct wait_lines *w)
{
    return w->lines.count;
}

static inline struct slice wait_key(const struct wait_line *line)
{
    return (struct slice){line->key, line->key_size};
}
