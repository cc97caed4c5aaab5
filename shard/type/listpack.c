/* Listpacks: the encodings of elements, walking, and changes in place.
 *
 * What an element's first byte says:
 *
 *     0nnnnnnn                     the integer n, 0 to 127
 *     10nnnnnn                     a string of n bytes
 *     110nnnnn nnnnnnnn            a 13-bit integer, two's complement
 *     1110nnnn nnnnnnnn            a string of n bytes, below 4096
 *     11110000 + 4 bytes           a string of that many bytes
 *     11110001 ... 11110100        integers of 2, 3, 4 and 8 bytes, little-endian
 *     11111111                     the end
 *
 * The back length that follows is the size of all that, without itself: seven bits a byte, the
 * lowest in the last byte; each byte but the first has its high bit set, so that it reads from the
 * end on. A change is a splice: elements out, elements in, and the rest moved once. */
#include "shard/type/listpack.h"

#include <assert.h>

#include "proto/mem.h"

#define END_BYTE 0xffu
#define COUNT_UNKNOWN 65535u
#define COUNT_OFFSET 4

#define CODE_STRING_6 0x80u
#define CODE_INTEGER_13 0xc0u
#define CODE_STRING_12 0xe0u
#define CODE_STRING_32 0xf0u
#define CODE_INTEGER_16 0xf1u
#define CODE_INTEGER_24 0xf2u
#define CODE_INTEGER_32 0xf3u
#define CODE_INTEGER_64 0xf4u
#define HEAD_SIZE_MAX 9u
#define BACK_SIZE_MAX 5u

static uint32_t load_32(const unsigned char *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static void store_size(unsigned char *lp, size_t size)
{
    assert(size <= LISTPACK_SIZE_MAX);
    uint32_t value = (uint32_t)size;
    memcpy(lp, &value, sizeof(value));
}

static uint32_t load_count(const unsigned char *lp)
{
    uint16_t count;
    memcpy(&count, lp + COUNT_OFFSET, sizeof(count));
    return count;
}

static void store_count(unsigned char *lp, uint64_t count)
{
    uint16_t value = count < COUNT_UNKNOWN ? (uint16_t)count : COUNT_UNKNOWN;
    memcpy(lp + COUNT_OFFSET, &value, sizeof(value));
}

/* Once the count has left what the header can tell, only a walk could bring it back. */
static void add_count(unsigned char *lp, int64_t change)
{
    uint32_t count = load_count(lp);
    if (count != COUNT_UNKNOWN)
        store_count(lp, (uint64_t)(count + change));
}

/* Elements as they lie. */

/* Bytes of encoding and, unless it is a string, data. 0 where the byte begins no element. */
static uint32_t head_size(unsigned char code)
{
    static const uint8_t sizes[] = {5, 3, 4, 5, 9};
    if (code < CODE_INTEGER_13)
        return 1;
    if (code < CODE_STRING_32)
        return 2;
    return code <= CODE_INTEGER_64 ? sizes[code - CODE_STRING_32] : 0;
}

/* Bytes of a string's text; 0 of an integer. */
static uint32_t text_size(const unsigned char *e)
{
    if (e[0] < CODE_STRING_6)
        return 0;
    if (e[0] < CODE_INTEGER_13)
        return e[0] & 0x3fu;
    if (e[0] < CODE_STRING_12)
        return 0;
    if (e[0] < CODE_STRING_32)
        return (e[0] & 0x0fu) << 8 | e[1];
    return e[0] == CODE_STRING_32 ? load_32(e + 1) : 0;
}

static uint32_t body_size(const unsigned char *e)
{
    return head_size(e[0]) + text_size(e);
}

/* Redis's bounds, which a reader that walks forward has to share: beyond two bytes a length takes
 * one more already at the highest value that would still fit. */
static uint32_t back_size(uint64_t body)
{
    if (body <= 127)
        return 1;
    if (body < 16383)
        return 2;
    if (body < 2097151)
        return 3;
    return body < 268435455 ? 4 : 5;
}

static void write_back(unsigned char *to, uint32_t body)
{
    uint32_t size = back_size(body);
    for (uint32_t i = size; i-- > 0; body >>= 7)
        to[i] = (unsigned char)((body & 127) | (i > 0 ? 128 : 0));
}

static int64_t element_integer(const unsigned char *e)
{
    int16_t value_16;
    int32_t value_32;
    int64_t value;
    if (e[0] < CODE_STRING_6)
        return e[0];
    switch (e[0]) {
    case CODE_INTEGER_16:
        memcpy(&value_16, e + 1, sizeof(value_16));
        return value_16;
    case CODE_INTEGER_24:
        value_32 = (int32_t)((uint32_t)e[1] << 8 | (uint32_t)e[2] << 16 | (uint32_t)e[3] << 24);
        return value_32 >> 8;
    case CODE_INTEGER_32:
        memcpy(&value_32, e + 1, sizeof(value_32));
        return value_32;
    case CODE_INTEGER_64:
        memcpy(&value, e + 1, sizeof(value));
        return value;
    default:
        value_32 = (e[0] & 0x1f) << 8 | e[1];
        return value_32 < 1 << 12 ? value_32 : value_32 - (1 << 13);
    }
}

static bool element_is_string(const unsigned char *e)
{
    return (e[0] & 0xc0) == CODE_STRING_6 || (e[0] & 0xf0) == CODE_STRING_12 ||
           e[0] == CODE_STRING_32;
}

static struct slice element_text(const unsigned char *e)
{
    return (struct slice){(const char *)e + head_size(e[0]), text_size(e)};
}

/* Elements to be written. */

struct piece {
    struct slice text; /* a string's; goes behind the head */
    uint32_t body;
    uint32_t size; /* body and back length */
    uint8_t head_size;
    unsigned char head[HEAD_SIZE_MAX];
};

static struct piece finish_piece(struct piece p)
{
    p.body = p.head_size + (uint32_t)p.text.size;
    p.size = p.body + back_size(p.body);
    return p;
}

static struct piece piece_of_text(struct slice text)
{
    assert(text.size <= LISTPACK_SIZE_MAX);
    struct piece p = {.text = text};
    uint32_t size = (uint32_t)text.size;
    if (size < 64) {
        p.head_size = 1;
        p.head[0] = (unsigned char)(CODE_STRING_6 | size);
    } else if (size < 4096) {
        p.head_size = 2;
        p.head[0] = (unsigned char)(CODE_STRING_12 | size >> 8);
        p.head[1] = (unsigned char)size;
    } else {
        p.head_size = 5;
        p.head[0] = CODE_STRING_32;
        memcpy(p.head + 1, &size, sizeof(size));
    }
    return finish_piece(p);
}

static struct piece piece_of_integer(int64_t value)
{
    struct piece p = {0};
    memcpy(p.head + 1, &value, sizeof(value));
    if (value >= 0 && value < 128) {
        p.head_size = 1;
        p.head[0] = (unsigned char)value;
    } else if (value >= -(1 << 12) && value < 1 << 12) {
        p.head_size = 2;
        p.head[0] = (unsigned char)(CODE_INTEGER_13 | (value >> 8 & 0x1f));
    } else if (value == (int16_t)value) {
        p.head_size = 3;
        p.head[0] = CODE_INTEGER_16;
    } else if (value >= -(1 << 23) && value < 1 << 23) {
        p.head_size = 4;
        p.head[0] = CODE_INTEGER_24;
    } else if (value == (int32_t)value) {
        p.head_size = 5;
        p.head[0] = CODE_INTEGER_32;
    } else {
        p.head_size = 9;
        p.head[0] = CODE_INTEGER_64;
    }
    return finish_piece(p);
}

static struct piece piece_of(struct slice value)
{
    int64_t integer;
    return number_parse_integer(value, &integer) ? piece_of_integer(integer)
                                                 : piece_of_text(value);
}

static void write_piece(unsigned char *to, const struct piece *p)
{
    memcpy(to, p->head, p->head_size);
    if (p->text.size > 0)
        memcpy(to + p->head_size, p->text.data, p->text.size);
    write_back(to + p->body, p->body);
}

/* Makes the `old_size` bytes at `at` `size` bytes, of no particular content where they are more. */
static void splice(unsigned char **lp, uint32_t at, size_t old_size, size_t size)
{
    size_t whole = listpack_size(*lp);
    assert(at >= LISTPACK_HEADER_SIZE && at + old_size < whole);
    size_t behind = whole - at - old_size;
    size_t changed = whole - old_size + size;
    if (size > old_size && mem_usable(*lp) < changed) /* an owner may have made room in advance */
        *lp = mem_realloc(*lp, changed);
    if (size != old_size)
        memmove(*lp + at + size, *lp + at + old_size, behind);
    if (size < old_size)
        *lp = mem_realloc(*lp, changed);
    store_size(*lp, changed);
}

static uint32_t insert_piece(unsigned char **lp, uint32_t at, const struct piece *p)
{
    splice(lp, at, 0, p->size);
    write_piece(*lp + at, p);
    add_count(*lp, 1);
    return at;
}

static void replace_piece(unsigned char **lp, uint32_t at, const struct piece *p)
{
    uint32_t body = body_size(*lp + at);
    splice(lp, at, body + back_size(body), p->size);
    write_piece(*lp + at, p);
}

/* The whole. */

unsigned char *listpack_create(size_t reserve)
{
    unsigned char *lp = mem_alloc(LISTPACK_HEADER_SIZE + 1 + reserve);
    store_size(lp, LISTPACK_HEADER_SIZE + 1);
    store_count(lp, 0);
    lp[LISTPACK_HEADER_SIZE] = END_BYTE;
    return lp;
}

unsigned char *listpack_copy(const unsigned char *lp)
{
    size_t size = listpack_size(lp);
    return memcpy(mem_alloc(size), lp, size);
}

size_t listpack_size(const unsigned char *lp)
{
    return load_32(lp);
}

uint32_t listpack_count(const unsigned char *lp)
{
    uint32_t count = load_count(lp);
    if (count != COUNT_UNKNOWN)
        return count;
    count = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; at = listpack_next(lp, at))
        count++;
    return count;
}

bool listpack_has_room(const unsigned char *lp, size_t size)
{
    size_t used = listpack_size(lp) + HEAD_SIZE_MAX + BACK_SIZE_MAX;
    return used <= LISTPACK_SIZE_MAX && size <= LISTPACK_SIZE_MAX - used;
}

size_t listpack_item_size(struct slice value)
{
    return piece_of(value).size;
}

/* Walking. */

uint32_t listpack_end(const unsigned char *lp)
{
    return (uint32_t)listpack_size(lp) - 1;
}

uint32_t listpack_first(const unsigned char *lp)
{
    return lp[LISTPACK_HEADER_SIZE] == END_BYTE ? LISTPACK_NONE : LISTPACK_HEADER_SIZE;
}

uint32_t listpack_last(const unsigned char *lp)
{
    return listpack_previous(lp, listpack_end(lp));
}

/* The position behind an element, be it the end. */
static uint32_t skip_element(const unsigned char *lp, uint32_t at)
{
    uint32_t body = body_size(lp + at);
    return at + body + back_size(body);
}

uint32_t listpack_next(const unsigned char *lp, uint32_t at)
{
    at = skip_element(lp, at);
    return lp[at] == END_BYTE ? LISTPACK_NONE : at;
}

uint32_t listpack_previous(const unsigned char *lp, uint32_t at)
{
    if (at == LISTPACK_HEADER_SIZE)
        return LISTPACK_NONE;
    uint32_t body = 0;
    unsigned shift = 0;
    unsigned char byte;
    do {
        byte = lp[--at];
        body |= (uint32_t)(byte & 127) << shift;
        shift += 7;
    } while (byte & 128);
    return at - body;
}

static uint32_t seek_forward(const unsigned char *lp, uint64_t steps)
{
    uint32_t at = listpack_first(lp);
    while (at != LISTPACK_NONE && steps-- > 0)
        at = listpack_next(lp, at);
    return at;
}

static uint32_t seek_backward(const unsigned char *lp, uint64_t steps)
{
    uint32_t at = listpack_last(lp);
    while (at != LISTPACK_NONE && steps-- > 0)
        at = listpack_previous(lp, at);
    return at;
}

uint32_t listpack_seek(const unsigned char *lp, int64_t index)
{
    int64_t count = load_count(lp);
    if (count == COUNT_UNKNOWN)
        return index >= 0 ? seek_forward(lp, (uint64_t)index) : seek_backward(lp, ~(uint64_t)index);
    if (index < 0)
        index += count;
    if (index < 0 || index >= count)
        return LISTPACK_NONE;
    return index < count / 2 ? seek_forward(lp, (uint64_t)index)
                             : seek_backward(lp, (uint64_t)(count - 1 - index));
}

/* Reading. */

struct listpack_item listpack_get(const unsigned char *lp, uint32_t at)
{
    const unsigned char *e = lp + at;
    if (element_is_string(e))
        return (struct listpack_item){.text = element_text(e)};
    return (struct listpack_item){.integer = element_integer(e)};
}

struct slice listpack_text(const unsigned char *lp, uint32_t at, char *scratch)
{
    const unsigned char *e = lp + at;
    if (element_is_string(e))
        return element_text(e);
    return (struct slice){scratch, number_format_integer(scratch, element_integer(e))};
}

bool listpack_integer(const unsigned char *lp, uint32_t at, int64_t *value)
{
    const unsigned char *e = lp + at;
    if (element_is_string(e))
        return false;
    *value = element_integer(e);
    return true;
}

bool listpack_equal(const unsigned char *lp, uint32_t at, struct slice value)
{
    const unsigned char *e = lp + at;
    if (element_is_string(e))
        return slice_equal(element_text(e), value);
    int64_t integer;
    return number_parse_integer(value, &integer) && integer == element_integer(e);
}

uint32_t listpack_find(const unsigned char *lp, uint32_t at, struct slice value, uint32_t skip)
{
    int64_t integer;
    bool is_integer = number_parse_integer(value, &integer);
    for (; at != LISTPACK_NONE; at = listpack_next(lp, at)) {
        const unsigned char *e = lp + at;
        bool found = element_is_string(e) ? slice_equal(element_text(e), value)
                                          : is_integer && element_integer(e) == integer;
        if (found)
            return at;
        for (uint32_t i = 0; i < skip; i++) {
            at = skip_element(lp, at);
            if (lp[at] == END_BYTE)
                return LISTPACK_NONE;
        }
    }
    return LISTPACK_NONE;
}

/* Changing. */

uint32_t listpack_insert(unsigned char **lp, uint32_t at, struct slice value)
{
    struct piece p = piece_of(value);
    return insert_piece(lp, at, &p);
}

uint32_t listpack_insert_integer(unsigned char **lp, uint32_t at, int64_t value)
{
    struct piece p = piece_of_integer(value);
    return insert_piece(lp, at, &p);
}

void listpack_append(unsigned char **lp, struct slice value)
{
    listpack_insert(lp, listpack_end(*lp), value);
}

void listpack_append_integer(unsigned char **lp, int64_t value)
{
    listpack_insert_integer(lp, listpack_end(*lp), value);
}

void listpack_prepend(unsigned char **lp, struct slice value)
{
    listpack_insert(lp, LISTPACK_HEADER_SIZE, value);
}

void listpack_replace(unsigned char **lp, uint32_t at, struct slice value)
{
    struct piece p = piece_of(value);
    replace_piece(lp, at, &p);
}

void listpack_replace_integer(unsigned char **lp, uint32_t at, int64_t value)
{
    struct piece p = piece_of_integer(value);
    replace_piece(lp, at, &p);
}

uint32_t listpack_delete(unsigned char **lp, uint32_t at, uint32_t count)
{
    uint32_t behind = at;
    int64_t deleted = 0;
    for (; deleted < count && (*lp)[behind] != END_BYTE; deleted++)
        behind = skip_element(*lp, behind);
    splice(lp, at, behind - at, 0);
    add_count(*lp, -deleted);
    return (*lp)[at] == END_BYTE ? LISTPACK_NONE : at;
}

void listpack_append_all(unsigned char **lp, const unsigned char *other)
{
    uint32_t at = listpack_end(*lp);
    size_t size = listpack_size(other) - LISTPACK_HEADER_SIZE - 1;
    uint64_t count = (uint64_t)listpack_count(*lp) + listpack_count(other);
    splice(lp, at, 0, size);
    memcpy(*lp + at, other + LISTPACK_HEADER_SIZE, size);
    store_count(*lp, count);
}

/* Bytes from outside. */

/* The size of the element at `at`, back length included; 0 where it is malformed or does not end
 * before `end`. */
static uint64_t valid_element(const unsigned char *lp, uint64_t at, uint64_t end)
{
    uint32_t head = head_size(lp[at]);
    if (head == 0 || head > end - at)
        return 0;
    uint64_t body = (uint64_t)head + text_size(lp + at);
    uint32_t back = back_size(body);
    if (body + back > end - at)
        return 0;
    unsigned char expected[BACK_SIZE_MAX];
    write_back(expected, (uint32_t)body);
    return memcmp(lp + at + body, expected, back) == 0 ? body + back : 0;
}

bool listpack_valid(const unsigned char *bytes, size_t size)
{
    if (size < LISTPACK_HEADER_SIZE + 1 || size > LISTPACK_SIZE_MAX ||
        listpack_size(bytes) != size || bytes[size - 1] != END_BYTE)
        return false;
    uint64_t end = size - 1, count = 0;
    for (uint64_t at = LISTPACK_HEADER_SIZE; at < end; count++) {
        uint64_t element = valid_element(bytes, at, end);
        if (element == 0)
            return false;
        at += element;
    }
    return load_count(bytes) == COUNT_UNKNOWN || load_count(bytes) == count;
}

void listpack_check(const unsigned char *lp)
{
    assert(mem_usable(lp) >= listpack_size(lp));
    assert(listpack_valid(lp, listpack_size(lp)));
}
