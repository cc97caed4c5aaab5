/* A session: a client's state, on its home core.
 *
 * It is fed bytes, parses requests, has them routed, and collects replies. At most one dispatch
 * (bundle) is under way for it; what arrives meanwhile waits in `query`. A session that ends while
 * a bundle is under way is freed when that comes home.
 *
 * The query buffer holds unconsumed bytes [query_at, size). While requests of this iteration, or
 * the bundle under way, point into it, it is *pinned*: its bytes do not move. Growth then starts a
 * new buffer and keeps the old one in `retired` until the pin is lifted. */
#pragma once

#include "net/ring.h"
#include "proto/buf.h"
#include "proto/resp.h"
#include "server/core.h"
#include "server/write_fault.h"
#include "server/server.h"

/* An output buffer of this size is put aside and the next begun. */
#define SESSION_CHUNK_SIZE ((size_t)64 * 1024)

enum session_reply { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIP };

/* Bytes that several sessions of a core are sent, stored once: a message of Pub/Sub. Its memory
 * begins with this, and goes when the last has let go of it. */
struct output_shared {
    uint32_t references;
    size_t size;
    char *bytes;
};

/* A piece of output that waits for the socket. */
struct output_chunk {
    struct output_chunk *next;
    struct buf buf;               /* borrowed, of `shared`, where that is not NULL */
    struct output_shared *shared;
    uint64_t must;                /* the commit that it must wait for */
};

/* What it takes, and its place among others of its size: see client_memory.h. */
struct session_memory_place {
    size_t size;
    struct session *next, *previous;
    uint8_t class;
    bool listed;
};

struct acl_user;
struct subscriptions;
struct tracking;
struct transaction;

struct session {
    struct conn conn; /* first */
    struct session_tls *tls; /* NULL: none. See session_tls.h */
    uint64_t id;
    enum listener_kind kind; /* how it came in */
    uint32_t home;
    uint32_t db;
    unsigned protocol;
    struct session *next, *previous; /* core->sessions */

    /* Input. */
    struct resp_parser parser;
    struct buf query;
    size_t query_at;
    struct buf retired;
    bool pinned;
    bool more;      /* `query` may hold complete requests: feed again without waiting for bytes */
    bool receiving_paused;
    uint32_t batch_max; /* requests parsed at a time */

    /* What is under way. */
    struct bundle *bundle;     /* the dispatch in flight, or NULL */
    struct bundle *blocked;    /* ... where it is known to wait: see blocked.h */
    uint32_t queued;           /* requests of this session in the run list */
    struct session *next_resume;
    bool in_resume;
    struct session *next_touched;
    bool in_touched;
    struct session *next_held;
    bool in_held;

    /* Output, in the order that it leaves: sending, chunks, pending, out. */
    struct buf out;                       /* being written */
    struct output_shared *pending;        /* stands before `out`; NULL: none */
    struct output_chunk *chunks, *chunks_last; /* full, in order, not yet sent */
    struct buf sending;                   /* with the kernel */
    struct output_shared *sending_shared; /* where it is borrowed */
    size_t chunk_bytes;                   /* of chunks, pending and held */
    struct output_chunk *held, *held_last; /* pushes that wait for the replies before them */
    bool holds_pushes;                    /* see pubsub_settle */
    bool pushed;                          /* a command has pushed while replies are off */
    int64_t soft_limit_since_us; /* monotonic; 0: its output is within the soft limit */
    struct session_memory_place memory;
    uint64_t must;                        /* the commit that all of it must wait for */
    uint64_t wrote;                       /* ... that its last write is part of: WAITAOF */
    struct session *next_gated;           /* core->journal.gated: output waits for that */
    bool in_gated;

    /* Transactions: see transaction.h. */
    struct transaction *transaction; /* MULTI; NULL: none */
    uint64_t watch_token;            /* 0: nothing is watched */
    struct core_mask watching;       /* shards with watches of it */
    size_t watch_memory;             /* about what those take there */

    /* Pub/Sub and caching: see pubsub.h, tracking.h. */
    struct subscriptions *subscriptions; /* NULL: none */
    struct tracking *tracking;           /* NULL: off */

    /* State. */
    bool restricted;      /* only some commands may be used: see session_restrict */
    bool one_at_a_time;   /* ... as the one before has left it: a pipeline is parsed so */
    bool authenticated;   /* as AUTH left it: see acl_is_stranger */
    bool was_authenticated; /* at some time: what it has not read may be what it was entitled to */
    const struct acl_user *user; /* acl.h; NULL: a replay, which may do everything */
    bool closing;         /* ring_close was called */
    bool close_after_reply;
    bool close_asked;     /* killed: close at the next chance */
    bool peer_gone;
    bool closed;          /* the ring is done with the conn */
    bool replay;          /* without a connection: runs an append-only file, see persist/load.h */
    bool no_evict, no_touch;
    enum session_reply reply_mode;
    const struct command *last_command;
    struct slice name, lib_name, lib_version; /* owned */
    char *peer;           /* "address:port"; owned, constant: any core that runs something of the
                           * session may read it. NULL: a replay */
    bool monitors;        /* MONITOR: see monitor.h */
    int64_t created_ms, last_active_ms;
    uint64_t commands, input_bytes, output_bytes;
};

/* A session without a connection, in no list, that is fed with commands of an append-only file
 * while it is loaded; its replies go nowhere. */
struct session *session_create_replay(struct core *c);
/* Nothing of it is under way. */
void session_destroy_replay(struct core *c, struct session *s);
void session_feed(struct core *c, struct session *s, struct slice commands);
/* Bytes that it has not taken yet; true where there are none, and nothing is under way. */
size_t session_waiting(const struct session *s);
bool session_is_idle(const struct session *s);

/* Ring events. */
struct session *session_create(struct core *c, int fd, uint64_t id);
void session_received(struct core *c, struct session *s, const char *data, size_t size);
void session_sent(struct core *c, struct session *s, int error);
void session_closed(struct core *c, struct session *s);

/* Feeds from the query buffer, at the start of a gather. */
void session_resume(struct core *c, struct session *s);
/* Runs one gathered request on this core and writes its reply, or a group of them. */
void session_run(struct core *c, struct request *r);
/* Answers one request with the shard that its keys are on (NULL: several, in `shards`). */
void session_answer(struct core *c, struct request *r, struct shard *shard,
                    struct shard *const *shards);
/* The same for a command of sessions, while no shard may be touched. */
void session_answer_alone(struct core *c, struct request *r);
/* Answers a request with an error, which ends a transaction where that is EXEC. */
void session_refuse(struct core *c, const struct request *r, const char *refusal);
/* Takes the next whole request out of the query buffer; false where there is none, or the session
 * has something under way. Its bytes are good until the next call. */
bool session_next_request(struct core *c, struct session *s, struct request *r);
/* Step 4: hands replies to the ring, lifts the pin, closes what is to be closed. */
void session_flush(struct core *c, struct session *s);
void session_touch(struct core *c, struct session *s);

/* The dispatch under way has come home: its replies go out, the session goes on. */
void session_bundle_done(struct core *c, struct session *s, struct bundle *b);

/* Where the reply to the next command goes, by the reply mode; session_reply_end settles the mode.
 * */
struct buf *session_reply_begin_slow(struct core *c, struct session *s, size_t *mark);
static inline struct buf *session_reply_begin(struct core *c, struct session *s, size_t *mark)
{
    if (__builtin_expect(!s->in_touched || !s->out.data || s->out.size >= SESSION_CHUNK_SIZE, 0))
        return session_reply_begin_slow(c, s, mark);
    *mark = s->out.size;
    return &s->out;
}
void session_reply_end(struct session *s, size_t mark);

/* What was written to it, or is now, must wait for a commit: see persist/journal.h. */
static inline void session_needs(struct session *s, uint64_t must)
{
    if (must > s->must)
        s->must = must;
}

/* Sends a message of others, beside the replies: from where it is, or copied where that is cheaper.
 * While a dispatch is under way it waits until that is answered. */
void session_push(struct core *c, struct session *s, struct output_shared *m);
void session_release_shared(struct output_shared *m);
/* Gives out what was held back, unless there is still a reason to wait. */
void session_release_held_pushes(struct core *c, struct session *s);

/* For a core that sleeps, by the one that holds its shard, after messages were given out there:
 * sends the sessions concerned what they have, without their ring. False where something is left,
 * for which the core must be woken. */
bool session_send_for(struct core *c);

/* Closes at the next chance: at once where nothing is under way. `after_reply`: what is owed goes
 * out first. */
void session_end(struct core *c, struct session *s, bool after_reply);

/* Bytes of replies not yet taken by the kernel. */
size_t session_output_size(const struct session *s);
size_t session_memory(const struct session *s);

/* Goes on with what waits in the query buffer, once nothing is under way. */
void session_continue(struct core *c, struct session *s);
/* It waits in a command that blocks. */
void session_waits(struct core *c, struct session *s);
/* CLIENT PAUSE holds the session's next request; all held sessions go on. */
void session_hold(struct core *c, struct session *s);
void session_release_held(struct core *c);
/* Frees replies that will not be sent any more. Not while a send is in flight. */
void session_drop_output(struct core *c, struct session *s);

/* Sets an owned text field of a session; "" clears it. */
void session_set_text(struct slice *field, struct slice value);
/* True where a name has only printable characters and no blank. */
bool session_name_valid(struct slice name);

/* Error texts, in the core's arena: an unknown command, an unknown subcommand. */
char *session_unknown_text(struct core *c, const struct slice *argv, uint32_t argc);
char *session_subcommand_text(struct core *c, const struct command *row,
                              const struct slice *argv, uint32_t argc);

/* Settles `restricted` after a change of what it depends on: not authenticated; subscribed to
 * something, which leaves a RESP2 client few commands; or of a user with limits. */
void session_restrict(struct session *s);
/* Where the session is restricted. */
bool session_still_admits(const struct session *s, const struct command *row,
                          const struct slice *argv, uint32_t argc);
/* Where a load is under way. */
bool session_admits_loading(const struct session *s, const struct command *row);
#define SESSION_LOADING_TEXT "LOADING Redis is loading the dataset in memory"
/* True where a command may run now: the usual case. */
/* Why it is refused while the server cannot write to disk, or memory is over the limit, which this
 * first tries to mend; NULL: it is not. */
const char *session_fault(const struct session *s, const struct command *row);
static inline __attribute__((always_inline)) bool
session_admits(const struct session *s, const struct command *row, const struct slice *argv,
               uint32_t argc)
{
    return row && row->run &&
           (__builtin_expect(!server->keyspace.options.loading, 1) ||
            session_admits_loading(s, row)) &&
           (row->arity > 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity) &&
           (__builtin_expect(!s->restricted, 1) || session_still_admits(s, row, argv, argc)) &&
           !((row->flags & CMD_NO_MULTI) && s->transaction) &&
           !(write_fault_any() && session_fault(s, row));
}
/* Why a command may not run now, as an error's text; NULL where it may: faults come and go. For
 * `row` NULL (unknown) and for wrong arity too. The text stays good until the next call (it may be
 * in the core's arena). */
const char *session_refusal(struct core *c, struct session *s, const struct command *row,
                            const struct slice *argv, uint32_t argc);
