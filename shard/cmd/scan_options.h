/* What SCAN, SSCAN, HSCAN and ZSCAN have in common: the cursor, the options after it, the reply.
 *
 * A command reads its cursor (scan_cursor_read), finds its key and says scan_reply_empty where
 * there is none, reads its options (scan_options_read), and scans from scan_cursor_position of the
 * cursor, between scan_reply_start and scan_reply_end; the latter takes scan_position_cursor of the
 * position reached. Its visitor tests scan_options_match, writes to the reply's `elements` and
 * counts them in `count`. The order is Redis's: an absent key has no wrong options.
 *
 * A cursor is a position of table_scan, its 48 bits in reverse: positions use their high bits
 * first, so reversed they make small numbers, which matters to clients that keep a cursor in a
 * double. */
#pragma once

#include "proto/buf.h"
#include "shard/call.h"

#define SCAN_POSITION_BITS 48

/* Options beside MATCH and COUNT. */
#define SCAN_TYPE (1u << 0)     /* TYPE name */
#define SCAN_NOVALUES (1u << 1) /* NOVALUES */

struct scan_options {
    uint64_t count; /* COUNT: 1 to 2^32, so that the work of a call is bounded */
    bool any;       /* no pattern, or one that everything matches */
    bool any_type;
    bool no_values;
    struct slice pattern;
    struct slice type;
};

/* Argument `arg` as a cursor, by Redis's rules; false, having replied, where it is none. */
bool scan_cursor_read(struct call *c, uint32_t arg, uint64_t *cursor);
/* The same without a reply. */
bool scan_cursor_parse(struct slice text, uint64_t *cursor);
/* Position 0 is cursor 0. A cursor that we never gave leads beyond all positions: such a scan is at
 * its end. */
uint64_t scan_cursor_position(uint64_t cursor);
uint64_t scan_position_cursor(uint64_t position);

/* The arguments from `first` on, of which `allowed` says what is an option here beside MATCH and
 * COUNT. False, having replied with Redis's error. */
bool scan_options_read(struct call *c, uint32_t first, unsigned allowed, struct scan_options *o);
/* The options of a scan for a pattern alone, as much of it at a time as may be. */
void scan_options_match_only(struct scan_options *o, struct slice pattern);
bool scan_options_match(const struct scan_options *o, struct slice text);

/* Elements gathered before it is known how many there are. */
struct scan_reply {
    struct reply elements; /* where to write them */
    size_t count;          /* elements of the reply's array: of a pair, two */
    struct buf buf;
};

void scan_reply_start(struct scan_reply *r, const struct call *c);
/* Replies with the next cursor and the elements, and frees what was gathered. */
void scan_reply_end(struct scan_reply *r, struct call *c, uint64_t cursor);
/* Instead of scan_reply_end: there is no reply. */
void scan_reply_drop(struct scan_reply *r);
/* The reply where there is no key. */
void scan_reply_empty(struct call *c);
