/* A radix tree: byte strings to pointers, in the order of memcmp (a prefix first).
 *
 * Paths without a branch are compressed into their node, and a node has room for 4, 16, 48 or 256
 * children, as it needs (V. Leis et al., "The Adaptive Radix Tree: ARTful Indexing for Main-Memory
 * Databases", ICDE 2013). A child that is nothing but a value takes no node: the pointer itself is
 * held, marked by its lowest bit; so values are never NULL and are aligned to 2 bytes at least.
 *
 * There is no iterator: a walk goes from a key to its neighbour by rax_seek, which takes as long as
 * finding (at most a step a byte), and is therefore never disturbed by changes.
 *
 * The tree owns its nodes, its user the values. What is allocated is entered in an account that
 * several trees share. Single-threaded. */
#pragma once

#include "proto/slice.h"

struct rax_node;

/* What is held, by all who share the account. */
struct rax_account {
    size_t bytes;         /* mem_usable of the allocations */
    uint64_t allocations; /* how many there are */
};

struct rax {
    void *root;     /* NULL: empty */
    uint64_t count; /* keys */
    uint64_t nodes; /* as Redis's radix tree, where each compressed path and each value is a node */
    struct rax_account *account;
};

enum rax_seek { RAX_AT_LEAST, RAX_ABOVE, RAX_AT_MOST, RAX_BELOW };

void rax_init(struct rax *r, struct rax_account *account);
/* Takes about *budget nodes away, all keys with them in some order, and hands their values to
 * `drop` (which may be NULL, and may take from *budget itself); true when none is left. Nothing
 * but this is to be done to the tree until then. */
bool rax_free_some(struct rax *r, void (*drop)(void *context, void *value), void *context,
                   uint64_t *budget);

/* NULL: no such key. */
void *rax_find(const struct rax *r, struct slice key);
/* Adds the key, or replaces its value. Returns the former value, NULL where the key is new. */
void *rax_put(struct rax *r, struct slice key, void *value);
/* Removes the key and returns its value, NULL where there was none. */
void *rax_remove(struct rax *r, struct slice key);

/* The value of the nearest key on one side of `key` (`how`), NULL where there is none. `found`,
 * unless NULL, receives that key's bytes: it must have room for the longest key in the tree. */
void *rax_seek(const struct rax *r, struct slice key, enum rax_seek how, unsigned char *found);
void *rax_first(const struct rax *r, unsigned char *found);
void *rax_last(const struct rax *r, unsigned char *found);

/* For tests: aborts on a broken invariant. Not for trees with a shared account only partly seen. */
void rax_check(const struct rax *r);
