/* Options on what the server tells of itself: slow log, latency, metrics. */
#include "server/config_rows.h"

static const struct config_option options[] = {
    {"slowlog-log-slower-than", INTEGER_FIELD(slowlog_log_slower_than), "10000", -1, INT64_MAX,
     .flags = OPTION_MUTABLE, .section = "Watching",
     .text = "Commands that ran for so many microseconds or more go to the slow log. 0: all do; "
             "-1: none."},
    {"slowlog-max-len", INTEGER_FIELD(slowlog_max_len), "128", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "How many of them are remembered."},
    {"latency-monitor-threshold", INTEGER_FIELD(latency_monitor_threshold), "0", 0, INT64_MAX,
     .flags = OPTION_MUTABLE,
     .text = "Events that took so many milliseconds or more are kept for LATENCY. 0: none are."},
    {"latency-tracking", BOOL_FIELD(latency_tracking), "yes", .flags = OPTION_MUTABLE,
     .text = "Whether a histogram of each command's times is kept (LATENCY HISTOGRAM, INFO "
             "latencystats)."},
    {"latency-tracking-info-percentiles", STRING_FIELD(latency_tracking_info_percentiles),
     "50 99 99.9", .flags = OPTION_MUTABLE | OPTION_MANY | OPTION_NO_WORDS | OPTION_PERCENTILES,
     .text = "The percentiles that INFO latencystats shows."},
    {"metrics-port", INTEGER_FIELD(metrics_port), "0", 0, 65535, .flags = OPTION_SAME,
     .text = "The port of HTTP for metrics in Prometheus' form (/metrics), a health check "
             "(/healthz) and a page that shows the server's state. 0: none."},
    {"metrics-bind", STRING_FIELD(metrics_bind), "127.0.0.1 -::1",
     .flags = OPTION_MANY | OPTION_ADDRESSES | OPTION_SAME,
     .text = "The addresses of that port. Whoever reaches it sees the figures, never keys' values; "
             "there is no password."},
};

const struct config_rows config_rows_watch = CONFIG_ROWS(options);
