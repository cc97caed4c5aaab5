/* Intsets: a sorted array of different integers, in the narrowest of three widths.
 *
 * Source: the RDB file format's intset. Layout, all little-endian: width in bytes 4 (2, 4 or 8),
 * count 4, the integers ascending. Allocated with mem_alloc; adding may move and widen it, and
 * widths never shrink. Single-threaded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intset;

struct intset *intset_create(void);
struct intset *intset_copy(const struct intset *s);
uint32_t intset_count(const struct intset *s);
/* Bytes of the layout above. */
size_t intset_size(const struct intset *s);
int64_t intset_get(const struct intset *s, uint32_t index);
bool intset_has(const struct intset *s, int64_t value);
/* True where it was not there before. */
bool intset_add(struct intset **s, int64_t value);
/* True where it was there. */
bool intset_remove(struct intset **s, int64_t value);
void intset_remove_at(struct intset **s, uint32_t index);
/* True where `size` bytes from outside are a well-formed intset of exactly that size. */
bool intset_valid(const void *bytes, size_t size);
/* For tests: aborts on a broken invariant. */
void intset_check(const struct intset *s);
