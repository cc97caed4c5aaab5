/* Scripts that run for long: who they are, and how they are killed.
 *
 * A script looks at the clock every so many instructions. Past busy-reply-threshold it enters
 * itself in its core's place of a list that all threads can read. SCRIPT KILL and FUNCTION KILL
 * leave their wish there; the script finds it at its next look, or before its first write: whoever
 * comes first of the two, the kill or the write, decides. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "proto/reply.h"
#include "server/script/interpreter.h"

/* Bits of a place's state. */
#define BUSY_RUNNING 1u  /* a script past the threshold */
#define BUSY_FUNCTION 2u /* ... is a function */
#define BUSY_WRITTEN 4u  /* ... has written, and cannot be killed */
#define BUSY_KILLED 8u   /* ... is to end */

/* One core's place. */
struct busy_place {
    /* Written by the script's thread and by those who kill; sequentially consistent. */
    _Atomic uint32_t state __attribute__((aligned(64)));
    _Atomic int64_t started_us; /* monotonic; good while BUSY_RUNNING */
    struct busy_story *story;   /* guarded by story_lock */
};

struct busy_scripts {
    _Atomic uint32_t count; /* places with BUSY_RUNNING; relaxed where it is only looked at */
    uint32_t place_count;
    pthread_mutex_t story_lock;
    struct busy_place places[];
};

struct busy_scripts *busy_create(uint32_t core_count);
void busy_destroy(struct busy_scripts *b);

/* Past the threshold: enters the script, and does what is to be done meanwhile. True where it is to
 * end now. From the count hook. */
bool busy_look(struct script_run *r);
/* Before a command that writes, in a run that is busy: false where it is to end instead. */
bool busy_write(struct script_run *r);
/* The run has ended. */
void busy_end(struct script_run *r);
/* SCRIPT KILL, or FUNCTION KILL: asks those that can be killed to end, and says so, or why not. Any
 * thread. */
void busy_kill(bool function, struct reply *reply);

/* busy_story.c: what FUNCTION STATS tells. Kept by the script's thread when it enters itself,
 * dropped when it has ended. */
void busy_story_keep(struct busy_place *p, const struct script_run *r);
void busy_story_drop(struct busy_place *p);
/* Writes of a function that runs for long: its name, its command, since when; nothing where none
 * does. False where a script does that is no function. Any thread. */
bool busy_tell_function(struct reply *reply);
