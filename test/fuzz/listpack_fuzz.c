/* Fuzzes listpack_valid: any bytes as a listpack. What it accepts must be safe to walk both ways
 * and to change. */
#include <assert.h>

#include "proto/mem.h"
#include "shard/type/listpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t walk(const unsigned char *lp)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    uint32_t forward = 0, backward = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE; at = listpack_next(lp, at)) {
        struct slice text = listpack_text(lp, at, scratch);
        assert(listpack_equal(lp, at, text));
        assert(listpack_find(lp, at, text, 0) == at);
        forward++;
    }
    for (uint32_t at = listpack_last(lp); at != LISTPACK_NONE; at = listpack_previous(lp, at))
        backward++;
    assert(forward == backward && forward == listpack_count(lp));
    return forward;
}

/* Writes every element anew, then takes all of them out from the middle on. */
static void change(unsigned char *lp, uint32_t count)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = listpack_seek(lp, i);
        struct slice text = listpack_text(lp, at, scratch);
        char *copy = memcpy(mem_alloc(text.size), text.data, text.size);
        listpack_replace(&lp, at, (struct slice){copy, text.size});
        mem_free(copy);
        listpack_check(lp);
    }
    for (; count > 0; count--) {
        listpack_delete(&lp, listpack_seek(lp, count / 2), 1);
        listpack_check(lp);
    }
    mem_free(lp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!listpack_valid(data, size))
        return 0;
    uint32_t count = walk(data);
    if (count < 100)
        change(listpack_copy(data), count);
    return 0;
}
