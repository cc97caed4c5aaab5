/* CRC-64 as Redis's files and DUMP payloads have it. Pure; any thread.
 *
 * Source: the polynomial of D. T. Jones, "An Improved 64-bit Cyclic Redundancy Check for Protein
 * Sequences" (0xad93d23594c935a9), bits reflected, begins with 0, ends unchanged. Its check value,
 * of "123456789", is 0xe9c6d914c4b8d9ca. */
#pragma once

#include "proto/slice.h"

/* Goes on from `crc`, the result for what came before; 0 at the begin. */
uint64_t crc64(uint64_t crc, struct slice data);
