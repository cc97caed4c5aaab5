/* A file being loaded, read in large pieces that others may keep while they work on what is in
 * them.
 *
 * What is not yet taken lies in one run [at, end). load_file_more makes that run longer: it reads
 * into a fresh buffer, to which the part not taken is copied, and lets go of the old one. A buffer
 * counts who points into it and goes with the last of them; how many may be around at a time is
 * bounded by a budget, so that a reader that is ahead of the others waits for them. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/slice.h"

/* Buffers in memory. The reader waits on `freed` while there are too many. */
struct load_budget {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    uint32_t live;
    bool over;              /* nobody waits any more */
};

/* Lets the reader go on; any thread. */
void load_budget_end(struct load_budget *b);

struct load_buffer {
    _Atomic uint32_t references;
    struct load_budget *budget; /* NULL: nobody counts */
    uint64_t offset;            /* of its first byte in the file */
    size_t size, cap;
    char bytes[];
};

struct load_file {
    int fd;
    const char *path;
    uint64_t size;              /* when it was opened */
    struct load_buffer *buffer; /* one of its references is ours */
    const char *at, *end;
    bool ended;                 /* nothing lies behind `end` */
    struct load_budget *budget; /* or NULL */
    /* Before another buffer takes the place of the present one: whoever collects pointers into it
     * hands them on. Or NULL. */
    void (*leaves)(void *context);
    void *context;
    bool sums;                  /* the checksum is wanted */
    uint64_t checksum;          /* of all before `summed` */
    const char *summed;
};

enum load_file_end { LOAD_FILE_READ, LOAD_FILE_ENDED, LOAD_FILE_FAILED };

/* False with errno set. `path` is borrowed. */
bool load_file_open(struct load_file *f, const char *path, struct load_budget *budget);
void load_file_close(struct load_file *f);
/* More bytes behind those in [at, end), which move: pointers into them are the old buffer's. ENDED
 * where there are none; FAILED with errno set. */
enum load_file_end load_file_more(struct load_file *f);
/* At least `size` bytes in [at, end); false where the file has not so many, or cannot be read
 * (errno; 0 where it ends). */
bool load_file_need(struct load_file *f, size_t size);
/* The checksum of all bytes before `at`. */
uint64_t load_file_checksum(struct load_file *f);

static inline uint64_t load_file_offset(const struct load_file *f, const char *p)
{
    return f->buffer->offset + (uint64_t)(p - f->buffer->bytes);
}

static inline struct load_buffer *load_buffer_keep(struct load_buffer *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}
/* Any thread. */
void load_buffer_release(struct load_buffer *b);
