/* The slow half of buf: growth, formatting and dropping. The quick half is inline in buf.h. */
#include "proto/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "proto/mem.h"

/* Smaller than this is not worth a second growth. */
#define BUF_CAP_MIN 128

void buf_deinit(struct buf *b)
{
    if (!b->borrowed)
        mem_free(b->data);
    buf_init(b);
}

void buf_grow(struct buf *b, size_t n)
{
    assert(b->size <= b->cap);
    assert(n <= SIZE_MAX / 4 && b->size <= SIZE_MAX / 4);
    size_t cap = b->cap * 2;
    if (cap < b->size + n)
        cap = b->size + n;
    if (cap < BUF_CAP_MIN)
        cap = BUF_CAP_MIN;
    if (b->borrowed) {
        char *moved = mem_alloc(cap);
        if (b->size)
            memcpy(moved, b->data, b->size);
        b->data = moved;
        b->borrowed = false;
    } else {
        b->data = mem_realloc(b->data, cap);
    }
    b->cap = cap;
}

void buf_printf(struct buf *b, const char *format, ...)
{
    /* The text is formatted in place, and once more if the first guess at its room was short. The
     * room includes a terminator, which vsnprintf insists on and the size leaves out. */
    for (size_t room = BUF_CAP_MIN;;) {
        char *to = buf_reserve(b, room);
        va_list args;
        va_start(args, format);
        int size = vsnprintf(to, room, format, args);
        va_end(args);
        assert(size >= 0);
        if ((size_t)size < room) {
            b->size += (size_t)size;
            return;
        }
        room = (size_t)size + 1;
    }
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->size);
    b->size -= n;
    if (n && b->size)
        memmove(b->data, b->data + n, b->size);
}
