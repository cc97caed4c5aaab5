/* What the files of metrics.h share. All but the core's side runs on HTTP's threads, under
 * `mutex`. */
#pragma once

#include <pthread.h>

#include "proto/buf.h"
#include "server/cmd/info.h"
#include "server/metrics/metrics.h"
#include "server/persist/aof.h"
#include "server/persist/journal.h"
#include "server/persist/load.h"
#include "shard/type/histogram.h"

#define METRICS_LISTENERS_MAX CONFIG_BIND_MAX
/* A core that has not gone round for so long does not serve. */
#define METRICS_STALL_MS 5000

struct MHD_Daemon;

/* The bounds of /metrics' histograms, in seconds; a last class is above all. */
#define METRICS_BOUNDS 19
extern const double metrics_bounds[METRICS_BOUNDS];

/* How many calls of a command took how long. */
struct metrics_times {
    uint64_t counts[METRICS_BOUNDS + 1];
};

/* A copy of one core's figures, and of some that it may read and others may not. */
struct metrics_core {
    struct info_core info;
    struct command_stats *commands; /* by id */
    struct metrics_times *times;    /* likewise; zeros where none were noted */
    struct error_stats *errors;     /* info.error_count of them */
    struct info_db *dbs;            /* one a database */
    int64_t taken_ms;               /* monotonic; 0: never */
    /* Of core 0 alone: */
    int64_t maxmemory, maxclients;
    struct info_memory_report memory; /* what only a core may look at */
    struct load_report load;
    struct journal_report journal;
    struct aof_report aof;
};

/* `fill` is the core's while it is asked (core.metrics_asked), else the asker's, who takes it by
 * exchanging the two. */
struct metrics_slot {
    struct metrics_core *fill, *latest;
};

struct metrics {
    int listeners[METRICS_LISTENERS_MAX];
    struct MHD_Daemon *daemons[METRICS_LISTENERS_MAX];
    uint32_t listener_count;
    uint32_t daemon_count;
    unsigned port;
    pthread_mutex_t mutex;
    struct metrics_slot *slots;
    uint8_t class_of[HISTOGRAM_BUCKETS]; /* of a core's histogram: the bound that it is below */
    int64_t asked_ms;      /* the last round */
    /* What the last look saw: */
    int64_t now_ms;        /* monotonic */
    struct info_core total;
    struct info_memory_report memory;
};

/* Monotonic. */
int64_t metrics_now_ms(void);
void metrics_sample_init(struct metrics *m);
void metrics_sample_deinit(struct metrics *m);
/* Asks the cores and waits a little; then `latest` of each slot is the newest there is, and
 * `total` their sum. */
void metrics_sample(struct metrics *m);
/* Whether a core's copy is older than a round of this look. */
bool metrics_is_stale(const struct metrics *m, uint32_t core);

/* Sums over the cores: by command id, and by error code (sorted by first appearance), to be freed
 * with mem_free; and of one database. */
struct command_stats *metrics_sum_commands(const struct metrics *m);
struct metrics_times metrics_sum_times(const struct metrics *m, uint32_t command);
struct error_stats *metrics_sum_errors(const struct metrics *m, uint32_t *count);
struct info_db metrics_sum_db(const struct metrics *m, uint32_t db);

/* The three kinds of text. */
void metrics_write_text(const struct metrics *m, struct buf *to);
void metrics_write_status(const struct metrics *m, struct buf *to);
/* Returns whether all is well. */
bool metrics_write_health(const struct metrics *m, struct buf *to);
