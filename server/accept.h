/* New connections: core 0 accepts them all and gives each to the core with the fewest.
 *
 * The kernel's own spreading (SO_REUSEPORT) is a hash: uneven at the tens of connections that
 * clients open. */
#pragma once

#include "server/core.h"

/* Core 0: the ring accepted a connection. */
void accept_connection(struct core *c, int fd, unsigned tag);
/* Core 0: starts and stops accepting on the listeners that were opened. */
void accept_start(struct core *c);
/* True where a message brings a new connection. */
bool accept_is_message(const struct core_message *m);
void accept_stop(struct core *c);
/* True where the peer of a socket is on this machine. */
bool accept_is_local(int fd);
