/* Prometheus' text format, version 0.0.4: lines that say what a metric is, and its samples.
 *
 * Source: prometheus.io, "Exposition formats". A metric's samples stand together, behind one HELP
 * and one TYPE line: begin one, write its samples, begin the next. Names and labels' names are
 * ours and valid; labels' values may come from clients, and are escaped. */
#pragma once

#include "proto/buf.h"

struct prometheus {
    struct buf *to;
    const char *name; /* of the metric begun */
};

/* `type` is "counter", "gauge" or "histogram". Constant strings. */
void prometheus_begin(struct prometheus *p, const char *name, const char *type, const char *help);
/* A sample without labels, or with one. Whole numbers are written as such. */
void prometheus_put(struct prometheus *p, double value);
void prometheus_put_labelled(struct prometheus *p, const char *label, const char *text,
                             double value);
/* A histogram of one label's value: counts[i] samples are at most bounds[i] and above the bound
 * before, counts[bound_count] above all; `sum` is that of the samples. */
void prometheus_put_histogram(struct prometheus *p, const char *label, const char *text,
                              const double *bounds, const uint64_t *counts, uint32_t bound_count,
                              double sum);
/* Appends a label's value: backslash, quote and line feed escaped; what is no UTF-8 as U+FFFD. */
void prometheus_append_escaped(struct buf *to, const char *text);
