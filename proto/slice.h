/* A byte slice: a borrowed run of bytes with its length. Everyone's argument type.
 *
 * A slice owns nothing. It is valid as long as the memory it points into; each function that keeps
 * one past its return says so. The bytes are binary: no terminator is implied. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *data;
    size_t size; /* bytes */
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* An empty slice may have no memory, which memcmp and its kin must not get even for 0 bytes. */
static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Compares with a C string, ignoring the case of ASCII letters: how options are matched. */
static inline bool slice_is(struct slice a, const char *word)
{
    return a.size == strlen(word) && (a.size == 0 || strncasecmp(a.data, word, a.size) == 0);
}
