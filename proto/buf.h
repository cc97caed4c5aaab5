/* A growable run of bytes: what replies are written into.
 *
 * Single owner, no locks. Growth doubles, so n bytes cost O(n). A buf may start on borrowed memory
 * (buf_init_borrowed): it then never frees that memory and moves off it when it grows. */
#pragma once

#include "proto/slice.h"

struct buf {
    char *data;
    size_t size; /* bytes written */
    size_t cap;  /* bytes there is room for */
    bool borrowed;
};

static inline void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

static inline void buf_init_borrowed(struct buf *b, char *data, size_t cap)
{
    *b = (struct buf){.data = data, .cap = cap, .borrowed = true};
}

/* Frees what is owned and leaves an empty buf. */
void buf_deinit(struct buf *b);

/* The slow half of buf_reserve. */
void buf_grow(struct buf *b, size_t n);

/* Room for n more bytes; returns where they go. The caller adds to b->size what it wrote. */
static inline char *buf_reserve(struct buf *b, size_t n)
{
    if (__builtin_expect(b->cap - b->size < n, 0))
        buf_grow(b, n);
    return b->data ? b->data + b->size : b->data;
}

static inline void buf_append(struct buf *b, const void *data, size_t n)
{
    char *to = buf_reserve(b, n);
    if (n)
        memcpy(to, data, n);
    b->size += n;
}

static inline void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.data, s.size);
}

static inline void buf_append_text(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *format, ...);

/* Drops the first n bytes (n <= size), moving the rest to the front. */
void buf_consume(struct buf *b, size_t n);

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->size};
}
