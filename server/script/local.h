/* What a core has of scripts: its interpreter, and what it has compiled.
 *
 * Made when the core first has to do with a script; only its own thread touches it. */
#pragma once

#include "server/script/interpreter.h"
#include "server/script/sha1.h"

/* A script that this core has compiled, or only looked up. */
struct compiled {
    struct script *script; /* NULL: free */
    int function;          /* a registry reference; LUA_NOREF: not compiled yet */
};

struct script_core {
    struct interpreter interpreter;
    struct sha1 *sha1;
    uint64_t epoch;           /* of what is compiled: scripts_epoch */
    struct compiled *slots;   /* by the first bytes of the SHA1; at most half of them used */
    uint32_t slot_count, count;
};

/* Made where it is not there yet; freed of what a flush has ended. */
struct script_core *script_core_of(struct core *c);

/* What a run has shown of a script's conduct goes to its shared record. */
void script_learn(_Atomic uint8_t *conduct, _Atomic bool *publishes, const struct script_run *r);
/* The shards that a script of such conduct is run with, for its declared keys; those of none where
 * `keys` are none. */
void script_add_shards(enum script_conduct conduct, bool publishes, const struct slice *keys,
                       uint32_t key_count, struct core_mask *mask);
/* Reads EVAL's and FCALL's key count, argument 2; false, having replied with the error, where it
 * does not fit (`reply` NULL: no reply). */
bool script_read_key_count(const struct slice *argv, uint32_t argc, uint32_t *count,
                           struct reply *reply);
