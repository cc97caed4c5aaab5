/* The saver: the thread that writes a save's file.
 *
 * It is given pieces by the cores, in any order, behind a header; writes them to a temporary file
 * as they come; behind the last adds the end of the file; syncs it, renames it, syncs the
 * directory. What could not be written does not stay: the temporary file is removed, and what had
 * the name before keeps it. One thread a save, which lives as long as that.
 *
 * Bounded memory: above SAVER_QUEUE_SIZE bytes that wait for the disk it is full, and cores do not
 * sweep on; it wakes them when half of that is written. Pieces that come of changes are taken all
 * the same.
 *
 * A record may come in several pieces, which must follow each other in the file: once it has
 * written one that goes on, it takes the others of that record only, and the rest waits. So that
 * these can come, for whoever has them it is full only where a share of that size waits of them
 * alone. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "proto/buf.h"
#include "shard/snapshot.h"

struct core_message;

#define SAVER_QUEUE_SIZE ((size_t)4 << 20)
/* ... of a record that has begun. */
#define SAVER_RECORD_SIZE ((size_t)1 << 20)
#define SAVER_PATH_SIZE 4096
#define SAVER_ERROR_SIZE 256

struct saver_piece {
    struct saver_piece *next;
    struct buf buf;
    struct snapshot_piece at;
};

struct saver_options {
    char path[SAVER_PATH_SIZE]; /* what the file is called in the end */
    char temp[SAVER_PATH_SIZE + 64]; /* what it is called until then */
    bool checksum;
    bool as_commands;           /* records become commands: aof_commands.c */
    int64_t told_s;             /* ... behind a line with this time; -1: none */
    void (*room)(uint32_t core); /* it is not full any more, and that core has been told it was */
    void (*ended)(void);        /* on the saver's thread, as the last thing */
};

struct saver {
    struct saver_options options; /* read by both sides while it runs */
    struct keyspace keyspace;   /* as at the cut: CONFIG SET changes the server's meanwhile */
    pthread_t thread;
    pthread_mutex_t mutex;      /* of all below, but for the atomics */
    pthread_cond_t work;        /* something was given, the input has ended, or nobody wants it */
    struct saver_piece *first, *last;
    bool input_ended;
    bool unwanted;              /* given up */
    bool running;               /* the thread is to be joined */
    bool closed;                /* no other is begun: the server stops */
    bool ok;
    char error[SAVER_ERROR_SIZE];
    uint64_t record;            /* of which it has taken a piece, but not the last; 0: none */
    size_t record_queued;       /* bytes of it that wait */
    bool told_full[SHARD_COUNT_MAX];
    uint64_t told_record[SHARD_COUNT_MAX]; /* what that core had under way then */
    _Atomic size_t queued;      /* bytes given and not yet written; changed under the mutex */
    _Atomic bool over;          /* pairs with the acquire of whoever joins it */
};

void saver_init(struct saver *s);
void saver_deinit(struct saver *s);
/* While all shards stand still. False with errno where there is no thread to be had, or the server
 * stops. `header`, which is emptied, goes first. */
bool saver_start(struct saver *s, const struct saver_options *o, struct buf *header);
/* Takes the bytes; the buf is empty afterwards. */
void saver_give(struct saver *s, struct buf *piece, struct snapshot_piece at);
/* True where a core is not to sweep on for now; it is told when it may. `record`: the one that its
 * shard has begun to hand over, or 0. */
bool saver_is_full(struct saver *s, uint32_t core, uint64_t record);
/* All has been given. */
void saver_end_input(struct saver *s);
/* Nobody wants the file: it does not get its name, unless it has it. */
void saver_give_up(struct saver *s);
/* The same for good: none is begun any more. Joins the thread. */
void saver_close(struct saver *s);
/* Waits for the thread, which has called `ended` or is about to. */
void saver_join(struct saver *s);
/* Writes a whole file in the same way, on the caller's thread, after anything that is being written
 * has been given up. False with the cause in `error`. */
bool saver_write_whole(struct saver *s, const struct saver_options *o, struct buf *text,
                       char error[SAVER_ERROR_SIZE]);
