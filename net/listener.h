/* Listening sockets. Called at start, by the main thread. */
#pragma once

#include <stddef.h>

/* Binds and listens on TCP. `address` is a numeric IPv4 or IPv6 address, or "*" / "::*" for all of
 * the one or the other. Returns a non-blocking, close-on-exec socket (SO_REUSEADDR; IPV6_V6ONLY
 * for IPv6), or -1 with a sentence in `why` that names the cure. */
int listener_open(const char *address, unsigned port, unsigned backlog, char *why, size_t why_size);

/* Sets what accepted sockets need: non-blocking, close-on-exec, TCP_NODELAY, and keep-alive every
 * `keepalive_s` seconds (0: off). */
void listener_prepare(int fd, unsigned keepalive_s);

/* "address:port" of the peer or of our side; IPv6 in brackets, as CLIENT LIST shows it. */
void listener_peer_name(int fd, char *to, size_t size);
void listener_own_name(int fd, char *to, size_t size);
