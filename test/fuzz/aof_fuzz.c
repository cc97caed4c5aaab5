/* Fuzzes the check of an append-only file: it ends, stays within the bytes, and what it calls good
 * is good when it stands alone. */
#include <stdlib.h>

#include "server/check/aof_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum aof_scan_end scan(struct aof_scan *s, struct slice file)
{
    enum aof_scan_end end;
    size_t before = 0;
    aof_scan_start(s, file, 0, 0);
    while ((end = aof_scan_next(s)) == AOF_SCAN_COMMAND) {
        if (s->at <= before || s->at > s->size)
            abort();
        before = s->at;
    }
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct aof_scan s;
    struct slice file = {(const char *)data, size};
    scan(&s, file);
    file.size = s.good;
    if (scan(&s, file) != AOF_SCAN_ENDED || s.good != file.size)
        abort();
    return 0;
}
