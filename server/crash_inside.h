/* What crash.c, which has the handlers, shares with crash_report.c, which has the sections. */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "server/crash_out.h"
#include "server/crash_symbols.h"

#define CRASH_FRAMES_MAX 64
#define CRASH_THREADS_MAX 512

/* What one thread was doing when it was asked. */
struct crash_thread {
    pid_t id;
    int frame_count;
    void *frames[CRASH_FRAMES_MAX];
    _Atomic bool filled; /* released by that thread, acquired by who writes the report */
};

struct crash_assertion {
    const char *text, *file;
    unsigned line;
};

/* Made before there are threads. All of it belongs to the thread that has set `busy`. */
struct crash {
    struct crash_symbols symbols;
    struct crash_assertion assertion; /* set by the thread that then aborts */
    _Atomic bool busy;     /* one report is being written */
    _Atomic bool halts;    /* threads that were asked for their stacks stand still then */
    _Atomic uint32_t arrived; /* of `threads`; each that is asked takes one */
    struct crash_thread threads[CRASH_THREADS_MAX];
};

struct crash_event {
    int signal;
    const siginfo_t *info;
    void *context;         /* ucontext_t of the thread */
    pid_t thread;
};

void crash_write_frames(struct crash_out *o, void *const *frames, int count);
/* The stacks of threads 0 to count - 1 of crash->threads. */
void crash_write_threads(struct crash_out *o, uint32_t count);

/* The report's parts, in their order. */
void crash_write_head(struct crash_out *o, const struct crash_event *e);
void crash_write_registers(struct crash_out *o, const void *context);
void crash_write_command(struct crash_out *o);
void crash_write_cores(struct crash_out *o);
void crash_write_server(struct crash_out *o);
void crash_write_end(struct crash_out *o);
