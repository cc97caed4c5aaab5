/* What set.c, set_walk.c and view_table.c share: members of a table.
 *
 * A member is one allocation: its size, then its bytes. The size takes
 *
 *     1 byte    below 254: that byte
 *     3 bytes   below 65536: 254, then 2 bytes
 *     9 bytes   255, then 8 bytes */
#pragma once

#include "shard/type/set.h"

#define MEMBER_SHORT 254u
#define MEMBER_LONG 255u

static inline struct slice set_table_text(const void *item)
{
    const char *at = item;
    unsigned first = (unsigned char)at[0];
    if (__builtin_expect(first < MEMBER_SHORT, 1))
        return (struct slice){at + 1, first};
    if (first == MEMBER_SHORT) {
        uint16_t size;
        memcpy(&size, at + 1, sizeof(size));
        return (struct slice){at + 3, size};
    }
    uint64_t size;
    memcpy(&size, at + 1, sizeof(size));
    return (struct slice){at + 9, size};
}
