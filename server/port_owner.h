/* Which program listens on a TCP port: for the message that it is taken.
 *
 * The kernel tells the socket of a port in /proc/net/tcp and tcp6 (proc(5)), and a process that
 * has it among its files in /proc/<pid>/fd. Others' processes can be looked into by root alone, so
 * that often there is no answer. Called while the process starts; no state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define PORT_OWNER_SIZE 64

/* Writes "redis-server, process 123" to `to`, of PORT_OWNER_SIZE bytes. False where the program
 * cannot be told. */
bool port_owner_find(unsigned port, char *to);
