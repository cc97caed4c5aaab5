/* Walking through an RDB file: what stands in it, one thing after the other, without making values.
 *
 * For loading (persist/load_rdb.c) and for lasca-check-rdb. Framing is checked all the way;
 * whether a value is a good one only rdb_read_value can say. */
#pragma once

#include "proto/buf.h"
#include "server/persist/load_file.h"

enum rdb_item_kind {
    RDB_ITEM_RECORD,   /* a key with its value */
    RDB_ITEM_AUX,      /* key, value */
    RDB_ITEM_SELECT,   /* database: `db` */
    RDB_ITEM_FUNCTION, /* value: the library's code */
    RDB_ITEM_MODULE,   /* a module's data about all of the file, passed over */
    RDB_ITEM_END,      /* of the RDB, behind its checksum */
    RDB_ITEM_FAILED,   /* `error`, `error_offset` */
};

struct rdb_item {
    enum rdb_item_kind kind;
    uint8_t type;        /* RECORD: enum rdb_type */
    int16_t frequency;   /* RECORD: LFU counter; -1: not told */
    uint32_t db;         /* RECORD, SELECT */
    int64_t expires_ms;  /* RECORD; -1: it does not */
    int64_t idle_s;      /* RECORD; -1: not told */
    struct slice key;    /* RECORD, AUX; good until the next call, as is `value` */
    struct slice value;  /* AUX, FUNCTION */
    struct slice record; /* RECORD: the bytes of key and value, in the file's buffer */
};

struct rdb_walk {
    struct load_file *file;
    uint32_t version;
    uint32_t db;
    uint64_t db_count;   /* databases that may be selected; 0: any number */
    bool verify;         /* the checksum is to be looked at */
    bool unsummed;       /* END: the file has none */
    uint64_t item_offset; /* of the item last returned */
    struct buf key, value; /* scratch */
    char error[256];
    uint64_t error_offset;
};

/* Reads the header; false with `error`. */
bool rdb_walk_begin(struct rdb_walk *w, struct load_file *f, bool verify);
enum rdb_item_kind rdb_walk_next(struct rdb_walk *w, struct rdb_item *item);
void rdb_walk_end(struct rdb_walk *w);
