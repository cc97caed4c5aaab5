/* The sockets that clients connect to: TCP, TLS and Unix.
 *
 * The list is made by the main thread, and changed by CONFIG SET while all cores stand still. Core
 * 0 alone accepts: it learns of a change by a message, listens on what is new, and closes what is
 * gone, between transactions. What a change takes away refuses connections from that change on;
 * connections made before stay. */
#pragma once

#include "server/core.h"
#include "server/server.h"

struct listener {
    int fd;
    enum listener_kind kind; /* also the tag by which its connections are known to accept.c */
    unsigned port;           /* of TCP and TLS */
    char *address;           /* as in `bind`, without a '-'; of a Unix socket: its absolute path */
    bool accepting;          /* core 0 listens on it */
    bool gone;               /* ... and is to stop doing so, and to close it */
    struct listener *next;   /* in the order of the configuration */
};

/* Opens what the configuration names; false with the cure in `error`. Main thread. */
bool listeners_open(char *error, size_t error_size);
/* Closes all of them; a Unix socket's file goes, too. No core runs. */
void listeners_close(void);
/* One line for each way in: what tools wait for. */
void listeners_log_ready(void);

/* Puts bind, port and tls-port of `server->config` in force; what was listened on before and is
 * still wanted goes on. False where that cannot be, told in the log: the caller puts the old values
 * back and calls again. All cores stand still; by the thread of `c`. */
bool listeners_change(struct core *c);

/* Core 0: listens on what is in the list, or on nothing any more. */
void listeners_start(struct core *c);
void listeners_stop(struct core *c);
