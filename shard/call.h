/* A call: one command being run on the data, as its body sees it.
 *
 * The body is written as if the server had one thread. It reads `argv`, finds keys through db.h and
 * writes one reply. It never asks where a key lives: in an ordinary call `shard` is the one shard
 * that all keys live on; in a cross transaction `shard` is NULL and db.h picks each key's shard,
 * all of which stand still meanwhile.
 *
 * Split commands (route SPLIT or ALL) are run once on each shard concerned, with the whole argv.
 * Their bodies go through their keys with call_next_key, which yields only those of this shard,
 * and leave their part of the result in the way that the row's `split` says (see command.h). */
#pragma once

#include "proto/reply.h"
#include "shard/command.h"
#include "shard/shard.h"

struct bundle; /* the server's: opaque here */
struct session; /* the server's: opaque here */

/* How a wait that ends without an answer is answered. */
enum call_wait_reply {
    WAIT_NULL_ARRAY,
    WAIT_NULL,
    WAIT_REPLICAS, /* WAIT's: how many replicas there are, none */
    WAIT_SYNC,     /* WAITAOF's, of `commit` */
};

/* An argument as a command that waits shall find it when it is run again. */
struct call_wait_arg {
    struct call_wait_arg *next;
    uint32_t arg;
    uint32_t size;
    char text[];
};

/* How a command is journaled. */
enum call_journaled {
    CALL_JOURNAL_AS_IS,  /* in its own words, where it changed something */
    CALL_JOURNAL_SPOKEN, /* its body has said how */
};

/* What a command that waits asks for, by call_wait. */
struct call_wait {
    bool asked;
    uint8_t type;        /* enum entry_type_id: what a key must be to end the wait */
    bool on_removal;     /* a key that goes ends it as well: the command then says why */
    uint8_t reply;       /* enum call_wait_reply */
    bool for_sync;       /* WAITAOF: it ends when `commit` is synced */
    uint32_t first_key;  /* the keys: args from this one on, side by side; none: it ends by its
                          * timeout, or as for_sync says */
    uint32_t key_count;
    int64_t timeout_ms;  /* 0: none */
    uint64_t commit;     /* of the journal: the server's */
    struct call_wait_arg *args; /* owned; given up by whoever has run the command */
};

struct call {
    struct shard *shard;          /* NULL in a cross transaction */
    struct shard *const *shards;  /* all shards by index, for a cross transaction; else NULL */
    const struct keyspace *keyspace;
    const struct command *command;
    const struct slice *argv;     /* argv[0] is the command's name; of a subcommand, argv[1] too */
    uint32_t argc;
    uint32_t db;                  /* the session's database */
    int64_t now_ms;               /* wall clock, one value for the whole call */
    struct reply reply;
    uint64_t first_key_hash;      /* of the first key, where first_key_hashed */
    bool first_key_hashed;
    bool no_touch;                /* CLIENT NO-TOUCH: reads leave LRU and LFU alone */
    struct session *session;      /* the caller's; away from its home core only its id is read */
    uint64_t client;              /* its id; 0: not a client's */
    uint64_t track;               /* who is to be left with the keys that it reads (track_client);
                                   * 0: nobody */
    bool flushed;                 /* the body has flushed databases, and nothing is tracked now */
    bool strayed;                 /* a script needs more shards than were at hand, and was taken
                                   * back: there is no reply, it is to run with all */
    bool may_wait;                /* a command may block: not within a transaction or a script */
    bool in_script;               /* a script or a function has called it */
    uint8_t journaled;            /* enum call_journaled: see journal.h */
    struct bundle **later;        /* CMD_LATER: where the body wants the bundle that is to be
                                   * answered later (bundle_answer), having written nothing; NULL:
                                   * there is a reply. Only where may_wait */
    bool repeated;                /* run again, for a key that it waits for */
    bool error_counted;           /* its error is another command's, and was counted as that */
    struct call_wait wait;

    /* Split parts. */
    const uint16_t *key_shards;   /* shard of each key in turn; NULL: all are this shard's */
    int64_t value;                /* SPLIT_SUM: this part's share */
    uint32_t *item_sizes;         /* SPLIT_ITEMS: where call_item_end notes sizes; may be NULL */
};

/* By which time what ends is judged: while loading nothing does. */
static inline int64_t call_due_ms(const struct call *c)
{
    return __builtin_expect(c->keyspace->options.loading, 0) ? INT64_MIN : c->now_ms;
}

/* True where so much was written that the client will be closed for it, without a reply: then there
 * is no use in going on. Within a script nobody is closed. */
bool call_reply_is_vain(const struct call *c);

/* The arg index of the next key that is this shard's, after `*at` (start with 0), or 0 at the
 * end. `*nth` (may be NULL) receives which of the command's keys it is, from 0. Keys are those
 * of the row's first key spec. */
uint32_t call_next_key(const struct call *c, uint32_t *at, uint32_t *nth);
/* SPLIT_ITEMS: says that the reply of the nth key is complete; `start` is out->size before it. */
void call_item_end(struct call *c, uint32_t nth, size_t start);

/* True where argument `i` is the option word (any case). */
static inline bool call_arg_is(const struct call *c, uint32_t i, const char *word)
{
    return slice_is(c->argv[i], word);
}

/* Argument `i` as an integer; false, having replied with Redis's error, when it is none. */
bool call_arg_integer(struct call *c, uint32_t i, int64_t *value);
/* ... within a range; outside it the error is "ERR value is out of range, ..." as Redis words
 * it. */
bool call_arg_integer_in(struct call *c, uint32_t i, int64_t min, int64_t max, int64_t *value);
bool call_arg_double(struct call *c, uint32_t i, double *value);

/* Waiting. A command that blocks looks at its keys in turn, taking those for empty that
 * call_may_take refuses; when none has what it wants it calls call_wait and returns without a
 * reply.
 * Once a key may have it, the command is run again with the same arguments, `repeated` set; it may
 * wait again then, and keeps its place in the line. With CMD_ANY_KEY in its row it may be run with
 * only some of its keys within reach. */

/* False where the key that is argument `arg` shall be taken for empty: it is out of reach, or
 * others who came before are about to get what it has. */
bool call_may_take(const struct call *c, uint32_t arg);
/* The command waits. Where it must not (in a transaction, a script) this writes the reply of a
 * timeout instead. `wait.asked` and `wait.args` are filled in here. */
void call_wait(struct call *c, struct call_wait wait);
/* When it waits and is run again, argument `arg` shall be this text (XREAD's "$"). Before
 * call_wait; the text is copied. */
void call_wait_arg(struct call *c, uint32_t arg, struct slice text);
/* A timeout in seconds, with a fraction, to milliseconds; false having replied with Redis's error.
 * 0: none. */
bool call_arg_timeout(struct call *c, uint32_t arg, int64_t *timeout_ms);
/* A timeout in whole milliseconds: XREAD's. */
bool call_arg_timeout_ms(struct call *c, uint32_t arg, int64_t *timeout_ms);
