/* Fuzzes the manifest's parser: what it accepts, printed and parsed again, prints the same. */
#include <stdlib.h>

#include "proto/buf.h"
#include "server/persist/aof.h"

/* Quoted, a longer name may not fit a line. No file system has such. */
#define NAME_SIZE_MAX 240

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_long_names(const struct aof_manifest *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (strlen(m->files[i].name) > NAME_SIZE_MAX)
            return true;
    return false;
}

static void print(struct slice text, struct buf *out)
{
    struct aof_manifest m;
    char error[128];
    if (!aof_manifest_parse(&m, text, error, sizeof(error)))
        abort();
    aof_manifest_print(&m, out);
    aof_manifest_deinit(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct aof_manifest m;
    struct buf once, twice;
    char error[128];
    struct slice text = {(const char *)data, size};
    if (!aof_manifest_parse(&m, text, error, sizeof(error)))
        return 0;
    bool skip = has_long_names(&m);
    aof_manifest_deinit(&m);
    if (skip)
        return 0;
    buf_init(&once);
    buf_init(&twice);
    print(text, &once);
    if (once.size)
        print(buf_slice(&once), &twice);
    if (!slice_equal(buf_slice(&once), buf_slice(&twice)))
        abort();
    buf_deinit(&once);
    buf_deinit(&twice);
    return 0;
}
