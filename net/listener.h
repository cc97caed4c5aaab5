/* Listening sockets, and what accepted ones are set to. Any thread; names of hosts are looked up by
 * the caller, who waits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Room for what listener_peer_name writes: a Unix socket's path, a colon and a zero. */
#define LISTENER_NAME_SIZE 128

/* Binds and listens on TCP. `address` is a numeric IPv4 or IPv6 address, "*" / "::*" for all of
 * the one or the other, or the name of a host. Returns a non-blocking, close-on-exec socket
 * (SO_REUSEADDR; IPV6_V6ONLY for IPv6), or -1 with errno and a sentence in `why` that names the
 * cure. */
int listener_open(const char *address, unsigned port, unsigned backlog, char *why, size_t why_size);

/* The same on a Unix socket, with these permissions (0: as the umask has it). What was left there
 * by a server that is gone is removed. */
int listener_open_unix(const char *path, unsigned mode, unsigned backlog, char *why,
                       size_t why_size);
/* Marks a socket, and the connections accepted on it, for the system's routing (SO_MARK); false
 * with errno. */
bool listener_mark(int fd, unsigned mark);

/* Sets what accepted sockets need: non-blocking, close-on-exec, TCP_NODELAY, and keep-alive every
 * `keepalive_s` seconds (0: off). */
void listener_prepare(int fd, unsigned keepalive_s);

/* What the peer has sent is acknowledged now. Where we have nothing to send, the kernel would wait
 * for 40 ms, and a peer that collects small writes (Nagle's algorithm) with it. */
void listener_acknowledge(int fd);

/* "address:port" of the peer or of our side; IPv6 in brackets, as CLIENT LIST shows it. Of a Unix
 * socket both are "path:0". */
void listener_peer_name(int fd, char *to, size_t size);
void listener_own_name(int fd, char *to, size_t size);
