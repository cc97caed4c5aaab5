/* Ids of messages: see stream_id.h. */
#include "shard/type/stream_id.h"

#include "proto/number.h"

/* Redis's: longer texts are refused, whatever they say. */
#define TEXT_SIZE_MAX 127

bool stream_id_increment(struct stream_id *id)
{
    if (id->seq != UINT64_MAX) {
        id->seq++;
        return true;
    }
    if (id->ms == UINT64_MAX)
        return false;
    *id = (struct stream_id){id->ms + 1, 0};
    return true;
}

bool stream_id_decrement(struct stream_id *id)
{
    if (id->seq != 0) {
        id->seq--;
        return true;
    }
    if (id->ms == 0)
        return false;
    *id = (struct stream_id){id->ms - 1, UINT64_MAX};
    return true;
}

/* Redis reads these numbers with strtoull: zeros, blanks and a plus may stand before them. */
static bool parse_part(const char *from, const char *end, uint64_t *value)
{
    while (from < end && (*from == ' ' || (*from >= '\t' && *from <= '\r')))
        from++;
    if (from < end && *from == '+')
        from++;
    while (end - from > 1 && *from == '0')
        from++;
    return number_parse_unsigned((struct slice){from, (size_t)(end - from)}, value);
}

bool stream_id_parse(struct slice text, uint64_t missing_seq, struct stream_id *id)
{
    if (text.size == 0 || text.size > TEXT_SIZE_MAX)
        return false;
    const char *end = text.data + text.size, *dash = memchr(text.data, '-', text.size);
    struct stream_id parsed = {0, missing_seq};
    if (!parse_part(text.data, dash ? dash : end, &parsed.ms))
        return false;
    if (dash && !parse_part(dash + 1, end, &parsed.seq))
        return false;
    *id = parsed;
    return true;
}

bool stream_id_parse_bound(struct slice text, uint64_t missing_seq, struct stream_id *id)
{
    if (slice_is(text, "-"))
        *id = STREAM_ID_MIN;
    else if (slice_is(text, "+"))
        *id = STREAM_ID_MAX;
    else
        return stream_id_parse(text, missing_seq, id);
    return true;
}

size_t stream_id_format(char *to, struct stream_id id)
{
    size_t size = number_format_unsigned(to, id.ms);
    to[size++] = '-';
    return size + number_format_unsigned(to + size, id.seq);
}
