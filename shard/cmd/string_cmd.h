/* What the files of the string family share: the options of SET and its kin.
 *
 * SET, GETEX and MSETEX take options from one vocabulary, each its own part of it. An option
 * belongs to a group (the condition, the expiry, GET); two different ones of a group are a syntax
 * error, while the same one may be repeated and the last counts. This is Redis's rule, kept because
 * clients rely on it.
 *
 * Private to shard/cmd/string*.c. Both functions reply with the error themselves. */
#pragma once

#include "shard/call.h"
#include "shard/db.h"

enum string_option {
    OPTION_NONE,
    OPTION_NX,
    OPTION_XX,
    OPTION_IFEQ,
    OPTION_IFNE,
    OPTION_IFDEQ,
    OPTION_IFDNE,
    OPTION_GET,
    OPTION_EX,
    OPTION_PX,
    OPTION_EXAT,
    OPTION_PXAT,
    OPTION_KEEPTTL,
    OPTION_PERSIST,
};

#define OPTION_BIT(option) (1u << (option))
#define OPTION_BITS_EXIST (OPTION_BIT(OPTION_NX) | OPTION_BIT(OPTION_XX))
#define OPTION_BITS_COMPARE \
    (OPTION_BIT(OPTION_IFEQ) | OPTION_BIT(OPTION_IFNE) | OPTION_BIT(OPTION_IFDEQ) | \
     OPTION_BIT(OPTION_IFDNE))
#define OPTION_BITS_TIME \
    (OPTION_BIT(OPTION_EX) | OPTION_BIT(OPTION_PX) | OPTION_BIT(OPTION_EXAT) | \
     OPTION_BIT(OPTION_PXAT))
#define OPTION_BITS_CONDITION (OPTION_BITS_EXIST | OPTION_BITS_COMPARE)

struct string_options {
    enum string_option condition; /* NX to IFDNE, or OPTION_NONE */
    enum string_option expiry;    /* EX to PERSIST, or OPTION_NONE */
    bool get;
    struct slice operand;         /* what IFEQ to IFDNE compare with */
    uint32_t expiry_arg;          /* where the time of EX to PXAT is */
};

/* Reads the options from argument `from` to the end into `o`, which the caller has zeroed.
 * `allowed` has the OPTION_BIT of each that the command takes. False: a syntax error was replied.
 * The time is not looked at: commands differ in when they do. */
bool string_options_read(struct call *c, uint32_t from, unsigned allowed, struct string_options *o);

/* The expiry that the option asks for, as db_put_string takes it. `arg` is where the time of EX to
 * PXAT is; it must be above 0 and fit in ms since the epoch. A time in the past is no error. False:
 * the error was replied. */
bool string_expiry_read(struct call *c, enum string_option option, uint32_t arg,
                        int64_t *expires_ms);
