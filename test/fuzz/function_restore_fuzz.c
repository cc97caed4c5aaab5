/* Fuzzes what reads FUNCTION RESTORE's payloads: no bytes may lead beyond them, and what is read of
 * one must be the same again.
 *
 * The input is a payload without its last bytes, which are made right. */
#include <assert.h>

#include "proto/crc64.h"
#include "proto/mem.h"
#include "server/script/function_dump.h"

#define VERSION 10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append_footer(struct buf *b)
{
    const unsigned char version[2] = {VERSION, 0};
    buf_append(b, version, sizeof(version));
    uint64_t crc = crc64(0, buf_slice(b));
    for (int i = 0; i < 8; i++) {
        unsigned char byte = (unsigned char)(crc >> (8 * i));
        buf_append(b, &byte, 1);
    }
}

/* All libraries' texts, one behind the other. */
static bool read_all(struct slice payload, struct buf *all)
{
    struct function_payload p;
    struct buf code, error;
    buf_init(&code);
    buf_init(&error);
    assert(function_payload_open(&p, payload));
    while (function_payload_next(&p, &code, &error))
        buf_append_slice(all, buf_slice(&code));
    bool well = error.size == 0;
    assert(!well || p.left.size == 0);
    buf_deinit(&code);
    buf_deinit(&error);
    return well;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct function_payload unchecked;
    function_payload_open(&unchecked, (struct slice){(const char *)data, size});
    struct buf payload, first, second;
    buf_init(&payload);
    buf_init(&first);
    buf_init(&second);
    buf_append(&payload, data, size);
    append_footer(&payload);
    bool well = read_all(buf_slice(&payload), &first);
    assert(well == read_all(buf_slice(&payload), &second));
    assert(slice_equal(buf_slice(&first), buf_slice(&second)));
    buf_deinit(&payload);
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
