/* Intsets: searching, shifting and widening a sorted array.
 *
 * Integers are read and written with memcpy at the width that the header says; the loop of a search
 * is compiled once for each width, so that the width is not asked for at every step. */
#include "shard/type/intset.h"

#include <assert.h>
#include <string.h>

#include "proto/mem.h"

struct intset {
    uint32_t width; /* bytes of each integer */
    uint32_t count;
    unsigned char bytes[];
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layout is that of memory");
_Static_assert(sizeof(struct intset) == 8, "the layout has no gaps");

static inline int64_t load(const unsigned char *bytes, uint32_t width, size_t index)
{
    if (width == 2) {
        int16_t value;
        memcpy(&value, bytes + index * 2, 2);
        return value;
    }
    if (width == 4) {
        int32_t value;
        memcpy(&value, bytes + index * 4, 4);
        return value;
    }
    int64_t value;
    memcpy(&value, bytes + index * 8, 8);
    return value;
}

/* The low bytes of a two's complement number are that number in fewer bytes. */
static inline void store(unsigned char *bytes, uint32_t width, size_t index, int64_t value)
{
    memcpy(bytes + index * width, &value, width);
}

static uint32_t width_of(int64_t value)
{
    if (value >= INT16_MIN && value <= INT16_MAX)
        return 2;
    return value >= INT32_MIN && value <= INT32_MAX ? 4 : 8;
}

static size_t size_of(uint32_t width, size_t count)
{
    return sizeof(struct intset) + count * width;
}

struct intset *intset_create(void)
{
    struct intset *s = mem_alloc(sizeof(*s));
    *s = (struct intset){.width = 2};
    return s;
}

struct intset *intset_copy(const struct intset *s)
{
    size_t size = intset_size(s);
    struct intset *copy = mem_alloc(size);
    memcpy(copy, s, size);
    return copy;
}

uint32_t intset_count(const struct intset *s)
{
    return s->count;
}

size_t intset_size(const struct intset *s)
{
    return size_of(s->width, s->count);
}

int64_t intset_get(const struct intset *s, uint32_t index)
{
    assert(index < s->count);
    return load(s->bytes, s->width, index);
}

/* The index of the first integer that is not below `value`. */
static inline uint32_t search(const struct intset *s, uint32_t width, int64_t value)
{
    uint32_t first = 0, count = s->count;
    while (count > 0) {
        uint32_t half = count / 2;
        bool below = load(s->bytes, width, first + half) < value;
        first = below ? first + half + 1 : first;
        count = below ? count - half - 1 : half;
    }
    return first;
}

static uint32_t lower_bound(const struct intset *s, int64_t value)
{
    /* Ascending values are often added in their order. */
    if (s->count == 0 || load(s->bytes, s->width, s->count - 1) < value)
        return s->count;
    if (s->width == 2)
        return search(s, 2, value);
    return s->width == 4 ? search(s, 4, value) : search(s, 8, value);
}

static bool is_at(const struct intset *s, uint32_t index, int64_t value)
{
    return index < s->count && load(s->bytes, s->width, index) == value;
}

bool intset_has(const struct intset *s, int64_t value)
{
    return width_of(value) <= s->width && is_at(s, lower_bound(s, value), value);
}

/* Adds a value that the present width cannot hold: it goes before or behind all others. Written
 * from the end, each integer moves to bytes that have been read before. */
static void widen(struct intset *s, uint32_t width, int64_t value)
{
    uint32_t old_width = s->width, shift = value < 0;
    for (uint32_t i = s->count; i-- > 0;)
        store(s->bytes, width, i + shift, load(s->bytes, old_width, i));
    store(s->bytes, width, shift ? 0 : s->count, value);
    s->width = width;
    s->count++;
}

bool intset_add(struct intset **s, int64_t value)
{
    struct intset *old = *s;
    assert(old->count < UINT32_MAX);
    uint32_t width = width_of(value);
    if (width > old->width) {
        *s = mem_realloc(old, size_of(width, (size_t)old->count + 1));
        widen(*s, width, value);
        return true;
    }
    uint32_t index = lower_bound(old, value);
    if (is_at(old, index, value))
        return false;
    struct intset *now = mem_realloc(old, size_of(old->width, (size_t)old->count + 1));
    unsigned char *at = now->bytes + (size_t)index * now->width;
    memmove(at + now->width, at, (size_t)(now->count - index) * now->width);
    store(now->bytes, now->width, index, value);
    now->count++;
    *s = now;
    return true;
}

void intset_remove_at(struct intset **s, uint32_t index)
{
    struct intset *now = *s;
    assert(index < now->count);
    unsigned char *at = now->bytes + (size_t)index * now->width;
    memmove(at, at + now->width, (size_t)(now->count - index - 1) * now->width);
    now->count--;
    *s = mem_realloc(now, intset_size(now));
}

bool intset_remove(struct intset **s, int64_t value)
{
    uint32_t index = lower_bound(*s, value);
    if (!is_at(*s, index, value))
        return false;
    intset_remove_at(s, index);
    return true;
}

static bool ascends(const unsigned char *bytes, uint32_t width, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        if (load(bytes, width, i - 1) >= load(bytes, width, i))
            return false;
    return true;
}

bool intset_valid(const void *bytes, size_t size)
{
    struct intset head;
    if (size < sizeof(head))
        return false;
    memcpy(&head, bytes, sizeof(head));
    if (head.width != 2 && head.width != 4 && head.width != 8)
        return false;
    return size == size_of(head.width, head.count) &&
           ascends((const unsigned char *)bytes + sizeof(head), head.width, head.count);
}

void intset_check(const struct intset *s)
{
    assert(intset_valid(s, intset_size(s)));
    assert(mem_usable(s) >= intset_size(s));
}
