/* What command bodies tell the journal instead of their own words: the forms that several families
 * share, in commands that Redis 7.0 knows.
 *
 * All of them say that the command has spoken for itself, and do nothing where there is no journal.
 * Called by command bodies, after the change. */
#pragma once

#include "proto/number.h"
#include "shard/db.h"
#include "shard/journal.h"

/* A command of these words, about the key of a place. */
#define told(c, p, ...)                                                                            \
    do {                                                                                           \
        if (__builtin_expect(journal_is_on(c), 0))                                                 \
            call_journal((c), (p)->shard, (struct slice[]){__VA_ARGS__},                           \
                         sizeof((struct slice[]){__VA_ARGS__}) / sizeof(struct slice));            \
    } while (0)

/* A number as a word, good as long as `text` (NUMBER_INTEGER_SIZE_MAX bytes) is. */
struct slice told_number(char *text, int64_t value);

/* The key is gone: DEL. By a time that was past when it was set: DEL or UNLINK, as
 * lazyfree-lazy-expire says. */
void told_gone(struct call *c, const struct place *p);
void told_past(struct call *c, const struct place *p);
/* The key ends at that time (ms since the epoch): PEXPIREAT, or with DB_NO_EXPIRY PERSIST. */
void told_expiry(struct call *c, const struct place *p, int64_t expires_ms);
/* The key is this string, with an expiry as db_put_string takes it: SET. */
void told_string(struct call *c, const struct place *p, struct slice value, int64_t expires_ms);

/* `command key [FIELDS count] field ...`, the fields being arguments from `first` on, each `step`
 * apart: HDEL, HPERSIST; and HPEXPIREAT. */
void told_fields(struct call *c, const struct place *p, struct slice command, uint32_t first,
                 uint32_t step);
void told_fields_expiry(struct call *c, const struct place *p, int64_t expires_ms, uint32_t first,
                        uint32_t step);

/* A command with many words behind the key, as several where they are more than a client may send
 * at once: `count` times told_list_add. Nothing else is told meanwhile. */
struct told_list {
    struct call *call;
    struct shard *shard;
    struct slice command, key;
    uint64_t left;     /* words to come */
    uint64_t in_chunk; /* ... of the command under way */
    struct journal_writing writing;
};

void told_list_start(struct told_list *l, struct call *c, const struct place *p,
                     struct slice command, uint64_t count);
void told_list_add(struct told_list *l, struct slice word);
