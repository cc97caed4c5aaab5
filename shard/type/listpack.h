/* Listpacks: a sequence of byte strings and integers in one block of memory.
 *
 * Source: the listpack specification published with Redis (listpack.md), the form in which RDB
 * files hold small collections and nodes of lists and streams. Layout:
 *
 *     bytes  4, little-endian: size of the whole, header and end byte included
 *     count  2, little-endian: elements; 65535: more than can be told here, count them
 *     elements: encoding byte(s), data, back length (the size of both, in 7-bit groups, readable
 *               from the end)
 *     end    0xff
 *
 * An element is an integer wherever its text is one (number_parse_integer); its text is what it was
 * added as, always. Positions are byte offsets from the start; LISTPACK_NONE is none. A change
 * moves everything behind it, and may move the block: functions that change take a pointer to the
 * owner's pointer, and earlier positions beyond the change are void.
 *
 * A listpack is allocated with mem_alloc (free it with mem_free; its memory is mem_usable of it).
 * Growth keeps little slack: what the allocator's classes give. Not above LISTPACK_SIZE_MAX. */
#pragma once

#include "proto/number.h"
#include "proto/slice.h"

#define LISTPACK_NONE 0u
#define LISTPACK_HEADER_SIZE 6u
/* A listpack is not grown beyond this many bytes; callers ask listpack_has_room before. */
#define LISTPACK_SIZE_MAX ((size_t)1 << 30)

/* An element as it is held. */
struct listpack_item {
    struct slice text; /* of a string; where it is an integer, data is NULL */
    int64_t integer;
};

/* An empty one with room for about `reserve` bytes of elements. */
unsigned char *listpack_create(size_t reserve);
unsigned char *listpack_copy(const unsigned char *lp);
/* Bytes of the whole. */
size_t listpack_size(const unsigned char *lp);
/* Elements; O(1) but beyond 65534. */
uint32_t listpack_count(const unsigned char *lp);
/* True where an element of `size` bytes can be added. */
bool listpack_has_room(const unsigned char *lp, size_t size);
/* Bytes that an element of this value takes. */
size_t listpack_item_size(struct slice value);

uint32_t listpack_first(const unsigned char *lp);
uint32_t listpack_last(const unsigned char *lp);
/* LISTPACK_NONE beyond the ends. */
uint32_t listpack_next(const unsigned char *lp, uint32_t at);
uint32_t listpack_previous(const unsigned char *lp, uint32_t at);
/* The element at an index; negative ones count from the end (-1: the last). Walks from the nearer
 * end. */
uint32_t listpack_seek(const unsigned char *lp, int64_t index);
/* Where the end byte is: what listpack_insert takes to append. */
uint32_t listpack_end(const unsigned char *lp);

struct listpack_item listpack_get(const unsigned char *lp, uint32_t at);
/* The element as text; `scratch` (NUMBER_INTEGER_SIZE_MAX bytes) is used for integers. Good until
 * the listpack changes. */
struct slice listpack_text(const unsigned char *lp, uint32_t at, char *scratch);
/* True, with the value, where the element is held as an integer. */
bool listpack_integer(const unsigned char *lp, uint32_t at, int64_t *value);
/* True where the element's text is `value`. */
bool listpack_equal(const unsigned char *lp, uint32_t at, struct slice value);
/* The first element from `at` on whose text is `value`, looking at one and passing over `skip`
 * (0: looks at every element; 1: at every other, so at the fields of field-value pairs). */
uint32_t listpack_find(const unsigned char *lp, uint32_t at, struct slice value, uint32_t skip);

/* Inserts before `at` (an element's position or listpack_end). Returns the new element's. */
uint32_t listpack_insert(unsigned char **lp, uint32_t at, struct slice value);
uint32_t listpack_insert_integer(unsigned char **lp, uint32_t at, int64_t value);
void listpack_append(unsigned char **lp, struct slice value);
void listpack_append_integer(unsigned char **lp, int64_t value);
void listpack_prepend(unsigned char **lp, struct slice value);
/* Gives the element at `at` another value; its position stays. */
void listpack_replace(unsigned char **lp, uint32_t at, struct slice value);
void listpack_replace_integer(unsigned char **lp, uint32_t at, int64_t value);
/* Removes `count` elements from `at` on (fewer where it ends before). Returns the position of what
 * then stands there, LISTPACK_NONE at the end. */
uint32_t listpack_delete(unsigned char **lp, uint32_t at, uint32_t count);
/* Appends all elements of another one. */
void listpack_append_all(unsigned char **lp, const unsigned char *other);

/* True where `size` bytes from outside are a well-formed listpack of exactly that size. Reads
 * nothing beyond them. */
bool listpack_valid(const unsigned char *bytes, size_t size);
/* For tests: aborts where it is not well-formed. */
void listpack_check(const unsigned char *lp);
