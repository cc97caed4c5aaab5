/* New connections: core 0 accepts them all and gives each to the core with the fewest.
 *
 * The kernel's own spreading (SO_REUSEPORT) is a hash: uneven at the tens of connections that
 * clients open. */
#pragma once

#include "server/core.h"

/* Core 0: the ring accepted a connection; `tag` is the enum listener_kind of where it came in. */
void accept_connection(struct core *c, int fd, unsigned tag);
/* True where a message brings a new connection. */
bool accept_is_message(const struct core_message *m);
/* A handshake of TLS is done: what could not be said before is. */
void accept_greet(struct core *c, struct session *s);
/* True where the peer of a socket is on this machine. */
bool accept_is_local(int fd);
/* What enable-debug-command and its like (enum config_debug) say to a client. */
bool accept_allows(int allowed, const struct session *s);
