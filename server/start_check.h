/* What a start looks at in the machine, and says so that whoever reads the log can mend it: nothing
 * here stops the start. Redis's own warnings about the machine that hold here, too, stand with what
 * they are about (process.c: huge pages and overcommitting; listeners.c: somaxconn). */
#pragma once

#include <stddef.h>

#define START_USER_SIZE 64

/* One line of the log for each thing that will go wrong later: a directory that cannot be written,
 * more shards than CPUs, a limit of memory that the machine or the cgroup does not allow. Called by
 * the main thread, in the working directory, before the cores are started. */
void start_check_warn(void);

/* The name of the user whose rights count, or its number. */
void start_user_name(char to[START_USER_SIZE]);

/* What to do about io_uring that was refused for this errno; "": nothing that we know of. */
const char *start_uring_cure(int error);
