/* HyperLogLog: about how many distinct elements were added, in at most 12 KiB and 16 bytes.
 *
 * Sources: Flajolet et al., "HyperLogLog: the analysis of a near-optimal cardinality estimation
 * algorithm", 2007; for the estimate O. Ertl, "New cardinality estimation algorithms for
 * HyperLogLog sketches", 2017. Each element is hashed; 14 bits of the hash choose one of 16384
 * registers, which keeps the longest run of zeros seen in the other bits, its end counted (1 to
 * 51).
 *
 * A sketch is a string that clients may read, write and move between servers, so its layout is the
 * one that Redis publishes:
 *
 *     magic     4  "HYLL"
 *     encoding  1  0: dense, 1: sparse
 *     unused    3
 *     cached    8  the last estimate, little-endian; its top bit: a register changed since
 *     dense: 12288 bytes, register i in the 6 bits from bit 6 * i on, the low bits of a byte first
 *     sparse: runs that cover all registers in turn
 *         00llllll           a run of l + 1 registers that are 0
 *         01llllll llllllll  the same, longer
 *         1vvvvvll           l + 1 registers that are v + 1
 *
 * Adding splits and joins runs just as Redis does, so that the same additions make the same bytes.
 * A sparse sketch becomes dense when it would grow beyond a limit, or a register beyond 32.
 *
 * Bytes from outside may lie: hyperloglog_is says that the header is right, and all else here finds
 * sparse runs that do not fit the registers ("corrupt") and never reads or writes beyond the
 * string. Single-threaded; owns nothing. */
#pragma once

#include "proto/slice.h"

#define HYPERLOGLOG_REGISTERS 16384
#define HYPERLOGLOG_HEADER_SIZE 16u
#define HYPERLOGLOG_DENSE_SIZE (HYPERLOGLOG_HEADER_SIZE + HYPERLOGLOG_REGISTERS / 8 * 6)
#define HYPERLOGLOG_EMPTY_SIZE (HYPERLOGLOG_HEADER_SIZE + 2)

/* A sketch to be changed: a string that its owner can resize, keeping the bytes that both sizes
 * have. */
struct hyperloglog {
    unsigned char *bytes;
    size_t size;
    size_t sparse_max; /* bytes */
    unsigned char *(*resize)(void *owner, size_t size);
    void *owner;
};

enum hyperloglog_result {
    HYPERLOGLOG_SAME,
    HYPERLOGLOG_CHANGED,
    HYPERLOGLOG_CORRUPT, /* nothing was changed */
};

/* A run of registers in a sparse sketch. */
struct hyperloglog_run {
    uint8_t value; /* of each */
    uint8_t size;  /* bytes: 1 or 2 */
    bool wide;     /* of the form with two bytes */
    uint32_t length;
};

/* One register for each byte. */
struct hyperloglog_registers {
    _Alignas(8) uint8_t at[HYPERLOGLOG_REGISTERS];
};

/* True where the bytes have the header, and for a dense sketch the size, of one. The functions
 * below take none but such. */
bool hyperloglog_is(struct slice bytes);
bool hyperloglog_is_dense(struct slice bytes);
/* Makes the bytes, HYPERLOGLOG_EMPTY_SIZE of them, a sketch of nothing, sparse. */
void hyperloglog_clear(unsigned char *bytes);

/* Adding changes a register or it does not. The cached estimate is the caller's to forget, once. */
enum hyperloglog_result hyperloglog_add(struct hyperloglog *h, struct slice element);
/* Raises each register to at least what it is in `r`. */
enum hyperloglog_result hyperloglog_raise(struct hyperloglog *h,
                                          const struct hyperloglog_registers *r);
/* Makes it dense. HYPERLOGLOG_SAME where it was. */
enum hyperloglog_result hyperloglog_densify(struct hyperloglog *h);

/* The cached estimate; false where there is none. */
bool hyperloglog_cached(struct slice bytes, uint64_t *count);
void hyperloglog_cache(unsigned char *bytes, uint64_t count);
void hyperloglog_forget(unsigned char *bytes);

/* Estimates anew. False where it is corrupt. */
bool hyperloglog_count(struct slice bytes, uint64_t *count);
/* Raises the registers to the sketch's. False where it is corrupt; some may be raised then. */
bool hyperloglog_merge(struct hyperloglog_registers *r, struct slice bytes);
uint64_t hyperloglog_count_registers(const struct hyperloglog_registers *r);

/* The run at an offset of a sparse sketch; false at its end, or where a run is cut off. */
bool hyperloglog_run_at(struct slice bytes, size_t at, struct hyperloglog_run *run);
