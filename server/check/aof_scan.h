/* Going through an append-only file command by command, without running any: for lasca-check-aof.
 *
 * The file lies in memory as a whole (mapped). A command is an array of bulk strings in RESP;
 * lines that begin with # are annotations, of which #TS:seconds tells the time. What stands between
 * MULTI and EXEC counts as one: it is whole with its EXEC. */
#pragma once

#include "proto/slice.h"

#define AOF_SCAN_ERROR_SIZE 256

enum aof_scan_end {
    AOF_SCAN_COMMAND, /* a command, or an annotation */
    AOF_SCAN_ENDED,   /* the file ends where a command may begin */
    AOF_SCAN_LATER,   /* an annotation tells a time after `until_s` */
    AOF_SCAN_BAD,     /* cut off, or broken: `error` */
};

struct aof_scan {
    const char *data;
    size_t size;
    size_t at;
    size_t good;      /* all before this is whole, and no transaction is open there */
    uint64_t line;    /* line of `at`, from 1, as redis-check-aof counts: in commands alone */
    int64_t until_s;  /* 0: any time */
    bool in_multi;
    size_t error_at;  /* offset of what is wrong */
    char error[AOF_SCAN_ERROR_SIZE]; /* "": nothing to add to that it is no append-only file */
};

/* `from`: behind an RDB preamble. */
void aof_scan_start(struct aof_scan *s, struct slice file, size_t from, int64_t until_s);
enum aof_scan_end aof_scan_next(struct aof_scan *s);
