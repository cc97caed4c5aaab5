/* FUNCTION DUMP's payload: the text of each library, as RDB files have it.
 *
 * Source: the RDB format. For each library the opcode 245 and a string; then two bytes of the
 * format's version and eight of a CRC-64, both least significant first. Redis 7.0 and later read
 * what is written here. */
#pragma once

#include "server/script/function.h"

#define FUNCTION_DUMP_FOOTER_SIZE 10 /* version and checksum */

/* `compress`: as Redis does with rdbcompression. */
void function_dump(const struct functions *f, bool compress, struct buf *to);

/* A payload as it is read. */
struct function_payload {
    struct slice left;
};

/* False where its version or its checksum is wrong. */
bool function_payload_open(struct function_payload *p, struct slice payload);
/* The next library's text, into `code`, which is emptied before. False at the end, and where it
 * cannot be read: then `error` is not empty. */
bool function_payload_next(struct function_payload *p, struct buf *code, struct buf *error);
