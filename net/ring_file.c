/* Writing files without io_uring: one thread a ring, which does what it is given in the order
 * given.
 *
 * It is made by the first write and lives as long as the ring. What it has done waits in a list
 * until the ring's owner, woken, tells of it. */
#include "net/ring_backend.h"

#include "proto/mem.h"

#include <errno.h>
#include <unistd.h>

/* Bytes a write: the file's lock is held for it. */
#define WRITE_SIZE_MAX ((size_t)8 << 20)

struct file_list {
    struct file_write *first;
    struct file_write *last;
};

struct ring_files {
    struct ring *ring;
    pthread_t thread;
    bool threaded; /* there is a thread: else the owner does the work itself */
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t given;
    struct file_list todo;
    struct file_list ended;
    bool stopping;
};

static void list_append(struct file_list *list, struct file_write *w)
{
    w->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = w;
    list->last = w;
}

static struct file_write *list_pop(struct file_list *list)
{
    struct file_write *w = list->first;
    if (w != NULL)
        list->first = w->next;
    if (list->first == NULL)
        list->last = NULL;
    return w;
}

void ring_file_do(struct file_write *w)
{
    while (w->written < w->size) {
        size_t size = w->size - w->written;
        size = size < WRITE_SIZE_MAX ? size : WRITE_SIZE_MAX;
        ssize_t n = write(w->fd, w->data + w->written, size);
        if (n > 0) {
            w->written += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            w->error = n == 0 ? ENOSPC : errno;
            return;
        }
    }
    while (w->sync && fdatasync(w->fd) != 0) {
        if (errno == EINTR)
            continue;
        w->error = errno;
        return;
    }
}

static void *work(void *argument)
{
    struct ring_files *f = argument;
    pthread_mutex_lock(&f->mutex);
    for (;;) {
        struct file_write *w = list_pop(&f->todo);
        if (w == NULL && f->stopping)
            break;
        if (w == NULL) {
            pthread_cond_wait(&f->given, &f->mutex);
            continue;
        }
        pthread_mutex_unlock(&f->mutex);
        ring_file_do(w);
        pthread_mutex_lock(&f->mutex);
        list_append(&f->ended, w);
        ring_wake(f->ring);
    }
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

static struct ring_files *create(struct ring *r)
{
    struct ring_files *f = mem_alloc_zeroed(sizeof(*f));
    f->ring = r;
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->given, NULL);
    f->threaded = pthread_create(&f->thread, NULL, work, f) == 0;
    return f;
}

void ring_files_destroy(struct ring_files *f)
{
    if (f == NULL)
        return;
    pthread_mutex_lock(&f->mutex);
    f->stopping = true;
    pthread_cond_signal(&f->given);
    pthread_mutex_unlock(&f->mutex);
    if (f->threaded)
        pthread_join(f->thread, NULL);
    pthread_cond_destroy(&f->given);
    pthread_mutex_destroy(&f->mutex);
    mem_free(f);
}

void ring_files_write(struct ring *r, struct ring_files **files, struct file_write *w)
{
    if (*files == NULL)
        *files = create(r);
    struct ring_files *f = *files;
    if (!f->threaded)
        ring_file_do(w);
    pthread_mutex_lock(&f->mutex);
    list_append(f->threaded ? &f->todo : &f->ended, w);
    pthread_cond_signal(&f->given);
    pthread_mutex_unlock(&f->mutex);
    if (!f->threaded)
        ring_wake(r);
}

void ring_files_reap(struct ring *r, struct ring_files *f)
{
    pthread_mutex_lock(&f->mutex);
    struct file_list ended = f->ended;
    f->ended = (struct file_list){0};
    pthread_mutex_unlock(&f->mutex);
    struct file_write *w;
    while ((w = list_pop(&ended)) != NULL)
        ring_tell_file(r, w, w->error);
}
