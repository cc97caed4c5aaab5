/* Options whose value is several words, kept as one string with blanks between.
 *
 * What a word may be, the row says: one of some names, a percentile, an address. The text that is
 * kept is the one that CONFIG GET prints and CONFIG REWRITE writes, so it is brought into the form
 * that Redis prints: names in the order of its table, numbers without trailing zeros. */
#include "server/config_option.h"

#include <stdio.h>

#include "proto/number.h"

#define PERCENTILE_SIZE_MAX 32

static void append_word(struct buf *to, struct slice word)
{
    if (to->size)
        buf_append(to, " ", 1);
    buf_append_slice(to, word);
}

static const struct option_name *name_of(const struct config_option *o, struct slice word)
{
    for (const struct option_name *n = o->names; n->name; n++) {
        if (slice_is(word, n->name))
            return n;
    }
    return NULL;
}

/* Words of names whose values are bits: those set, in the table's order. A name of value 0 stands
 * for none of them. */
static struct config_fault join_names(const struct config_option *o, const struct slice *words,
                                      uint32_t count, struct buf *to)
{
    int bits = 0;
    if (!count)
        return (struct config_fault){.kind = FAULT_ENUM};
    for (uint32_t i = 0; i < count; i++) {
        const struct option_name *n = name_of(o, words[i]);
        if (!n)
            return (struct config_fault){FAULT_ENUM, words[i], count, NULL};
        bits |= n->value;
    }
    for (const struct option_name *n = o->names; n->name; n++) {
        if (n->value ? bits & n->value : !bits)
            append_word(to, slice_of(n->name));
    }
    return (struct config_fault){.kind = FAULT_NONE};
}

static struct config_fault join_percentiles(const struct slice *words, uint32_t count,
                                            struct buf *to)
{
    for (uint32_t i = 0; i < count; i++) {
        struct config_fault fault = {FAULT_TEXT, words[i], count, NULL};
        double percentile;
        char text[PERCENTILE_SIZE_MAX];
        if (!number_parse_double(words[i], &percentile))
            fault.why = "Invalid latency-tracking-info-percentiles parameters";
        else if (percentile < 0 || percentile > 100)
            fault.why = "latency-tracking-info-percentiles parameters should sit between "
                        "[0.0,100.0]";
        if (fault.why)
            return fault;
        size_t size = (size_t)snprintf(text, sizeof text, "%f", percentile + 0.0);
        while (text[size - 1] == '0')
            size--;
        size -= text[size - 1] == '.';
        append_word(to, (struct slice){text, size});
    }
    return (struct config_fault){.kind = FAULT_NONE};
}

static struct config_fault join_addresses(const struct slice *words, uint32_t count, struct buf *to)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!config_may_be_address(words[i]))
            return (struct config_fault){FAULT_BIND_ADDRESS, words[i], count, NULL};
        append_word(to, words[i]);
    }
    return (struct config_fault){.kind = FAULT_NONE};
}

struct config_fault config_list_join(const struct config_option *o, const struct slice *words,
                                     uint32_t count, struct buf *to)
{
    if (count == 1 && !words[0].size)
        count = 0;
    if (o->names)
        return join_names(o, words, count, to);
    if (o->flags & OPTION_PERCENTILES)
        return join_percentiles(words, count, to);
    if (o->flags & OPTION_ADDRESSES)
        return join_addresses(words, count, to);
    if (o->flags & OPTION_NO_ONE && count == 2 && slice_is(words[0], "no") &&
        slice_is(words[1], "one"))
        count = 0;
    for (uint32_t i = 0; i < count; i++)
        append_word(to, words[i]);
    return (struct config_fault){.kind = FAULT_NONE};
}
