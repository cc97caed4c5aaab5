/* How the process stands in its system: background, file of its number, title, CPUs, priority for
 * the kernel's out-of-memory killer, huge pages. Main thread, but for process_apply_config.
 *
 * Order at the start: the CPUs before they are counted; process_take_title once the command line
 * has been read; the background before there is any thread, since fork(2) takes only its caller
 * along; the rest behind that. */
#pragma once

#include <locale.h>

#include "server/config.h"

/* What of the process was changed, or is to be undone. */
struct process {
    char *area;        /* argv and environment, as the kernel laid them out: the title's place */
    size_t area_size;
    char *name;        /* what the program was called as, owned */
    char *pidfile;     /* owned, absolute; NULL: none was written */
    locale_t collate;  /* of locale-collate, owned; NULL: by bytes */
    bool oom_adjusted; /* ... from oom_base */
    int oom_base;
};

/* Moves the environment out of the area in which the title is to stand. */
void process_take_title(struct process *p, char **argv);
void process_deinit(struct process *p);

/* Confines the process to these CPUs (`server-cpulist`); false with the cure in `error`. */
bool process_set_cpus(const char *list, char *error, size_t error_size);

/* Goes to the background: only the child returns. It has a session of its own, and nothing to read
 * from nor to write to. False with errno where there can be no child. */
bool process_daemonize(void);

/* Logs that the server starts, and from what. */
void process_log_start(const struct config *c, bool show_logo);
/* Whether that is with the logo: on a terminal, or where it is asked for. */
bool process_shows_logo(const struct config *c);

/* Title, pid file, locale, huge pages, out-of-memory score; warnings on the system. What fails is
 * logged: the server runs without. */
void process_settle(struct process *p, const struct config *c, bool background);
/* Removes the pid file. */
void process_end(struct process *p);

/* CONFIG SET has changed something: puts it in force. All cores stand still. False where the system
 * refuses; `option` is whose fault it is and `why` the error, as Redis words it. */
bool process_apply_config(struct process *p, const struct config *before, const struct config *c,
                          const char **option, const char **why);
