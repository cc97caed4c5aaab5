/* Lines of Prometheus' text format: see prometheus.h. */
#include "server/metrics/prometheus.h"

#include <math.h>

/* All whole numbers below it are doubles. */
#define WHOLE_MAX 9007199254740992.0

void prometheus_begin(struct prometheus *p, const char *name, const char *type, const char *help)
{
    p->name = name;
    buf_printf(p->to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void append_number(struct buf *to, double value)
{
    if (isnan(value))
        buf_append_text(to, "NaN\n");
    else if (isinf(value))
        buf_append_text(to, value > 0 ? "+Inf\n" : "-Inf\n");
    else if (value == floor(value) && fabs(value) < WHOLE_MAX)
        buf_printf(to, "%.0f\n", value);
    else
        buf_printf(to, "%.15g\n", value);
}

void prometheus_put(struct prometheus *p, double value)
{
    buf_printf(p->to, "%s ", p->name);
    append_number(p->to, value);
}

/* Bytes of the character that begins here, or 0 where what is here is no UTF-8: RFC 3629. */
static size_t character_size(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t size = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || beyond ? 0 : size;
}

void prometheus_append_escaped(struct buf *to, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s) {
        size_t size = character_size(s);
        if (*s == '\n')
            buf_append_text(to, "\\n");
        else if (*s == '\\' || *s == '"')
            buf_printf(to, "\\%c", *s);
        else if (size)
            buf_append(to, s, size);
        else
            buf_append_text(to, "\xef\xbf\xbd");
        s += size ? size : 1;
    }
}

static void put_part(struct prometheus *p, const char *suffix, const char *label,
                     const char *text, double value)
{
    buf_printf(p->to, "%s%s{%s=\"", p->name, suffix, label);
    prometheus_append_escaped(p->to, text);
    buf_append_text(p->to, "\"} ");
    append_number(p->to, value);
}

void prometheus_put_labelled(struct prometheus *p, const char *label, const char *text,
                             double value)
{
    put_part(p, "", label, text, value);
}

void prometheus_put_histogram(struct prometheus *p, const char *label, const char *text,
                              const double *bounds, const uint64_t *counts, uint32_t bound_count,
                              double sum)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i <= bound_count; i++) {
        count += counts[i];
        buf_printf(p->to, "%s_bucket{%s=\"", p->name, label);
        prometheus_append_escaped(p->to, text);
        if (i < bound_count)
            buf_printf(p->to, "\",le=\"%.9g\"} ", bounds[i]);
        else
            buf_append_text(p->to, "\",le=\"+Inf\"} ");
        append_number(p->to, (double)count);
    }
    put_part(p, "_sum", label, text, sum);
    put_part(p, "_count", label, text, (double)count);
}
