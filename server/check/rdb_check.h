/* The RDB part of a file, for the tools: each value is decoded as a load would decode it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Prints what it finds, as redis-check-rdb does, to standard output; progress of long files to
 * standard error. False for a file that cannot be loaded. *end: the offset behind the RDB. */
bool rdb_check_part(const char *path, size_t *end);
