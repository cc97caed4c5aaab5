/* Files being loaded: see load_file.h. */
#include "server/persist/load_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/crc64.h"
#include "proto/mem.h"

/* Bytes read at a time: long reads, and few buffers to hand around. */
#define BUFFER_SIZE ((size_t)1 << 20)
/* Buffers that may be in memory, the reader's own among them. */
#define BUFFERS_MAX 16

static struct load_buffer *create(struct load_budget *budget, size_t cap)
{
    struct load_buffer *b = mem_alloc(sizeof(*b) + cap);
    *b = (struct load_buffer){.budget = budget, .cap = cap};
    atomic_init(&b->references, 1);
    if (budget) {
        pthread_mutex_lock(&budget->mutex);
        budget->live++;
        pthread_mutex_unlock(&budget->mutex);
    }
    return b;
}

void load_buffer_release(struct load_buffer *b)
{
    /* Release: our reads come before the memory is used anew; acquire: those of the others do. */
    if (atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1)
        return;
    struct load_budget *budget = b->budget;
    mem_free(b);
    if (!budget)
        return;
    pthread_mutex_lock(&budget->mutex);
    budget->live--;
    pthread_cond_signal(&budget->freed);
    pthread_mutex_unlock(&budget->mutex);
}

static void wait_for_budget(struct load_budget *b)
{
    pthread_mutex_lock(&b->mutex);
    while (b->live >= BUFFERS_MAX && !b->over)
        pthread_cond_wait(&b->freed, &b->mutex);
    pthread_mutex_unlock(&b->mutex);
}

void load_budget_end(struct load_budget *b)
{
    pthread_mutex_lock(&b->mutex);
    b->over = true;
    pthread_cond_signal(&b->freed);
    pthread_mutex_unlock(&b->mutex);
}

bool load_file_open(struct load_file *f, const char *path, struct load_budget *budget)
{
    *f = (struct load_file){.path = path, .budget = budget};
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return false;
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        int error = errno;
        close(f->fd);
        errno = error;
        return false;
    }
    f->size = (uint64_t)st.st_size;
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    f->buffer = create(budget, BUFFER_SIZE);
    f->at = f->end = f->summed = f->buffer->bytes;
    return true;
}

void load_file_close(struct load_file *f)
{
    load_buffer_release(f->buffer);
    close(f->fd);
    f->buffer = NULL;
}

static void sum_up(struct load_file *f)
{
    if (f->sums)
        f->checksum = crc64(f->checksum, (struct slice){f->summed, (size_t)(f->at - f->summed)});
    f->summed = f->at;
}

uint64_t load_file_checksum(struct load_file *f)
{
    sum_up(f);
    return f->checksum;
}

/* A fresh buffer with the part not taken at its begin, and room behind it. */
static void change_buffer(struct load_file *f)
{
    sum_up(f);
    size_t kept = (size_t)(f->end - f->at);
    size_t cap = BUFFER_SIZE;
    while (cap < kept * 2)
        cap *= 2;
    if (f->leaves)
        f->leaves(f->context);
    struct load_buffer *old = f->buffer;
    uint64_t offset = load_file_offset(f, f->at);
    if (f->budget)
        wait_for_budget(f->budget);
    struct load_buffer *b = create(f->budget, cap);
    if (kept)
        memcpy(b->bytes, f->at, kept);
    b->offset = offset;
    b->size = kept;
    f->buffer = b;
    f->at = f->summed = b->bytes;
    f->end = b->bytes + kept;
    load_buffer_release(old);
}

enum load_file_end load_file_more(struct load_file *f)
{
    if (f->ended)
        return LOAD_FILE_ENDED;
    if (f->buffer->size)
        change_buffer(f);
    struct load_buffer *b = f->buffer;
    while (b->size < b->cap) {
        ssize_t n = read(f->fd, b->bytes + b->size, b->cap - b->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return LOAD_FILE_FAILED;
        f->ended = n == 0;
        if (f->ended)
            break;
        b->size += (size_t)n;
    }
    const char *end = b->bytes + b->size;
    bool grew = end > f->end;
    f->end = end;
    return grew ? LOAD_FILE_READ : LOAD_FILE_ENDED;
}

bool load_file_need(struct load_file *f, size_t size)
{
    errno = 0;
    while ((size_t)(f->end - f->at) < size) {
        enum load_file_end end = load_file_more(f);
        if (end == LOAD_FILE_ENDED)
            errno = 0;
        if (end != LOAD_FILE_READ)
            return false;
    }
    return true;
}
