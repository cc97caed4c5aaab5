/* Breaks of the order, made on purpose: at most one in a build, by the Meson option `break_order`,
 * and none in any build that serves somebody.
 *
 * A test that guards an invariant is worth what it finds. Each break takes away one thing that the
 * argument in docs/proof.md rests on, where the engine does it; `scripts/test --broken` builds them
 * one by one and demands that the stress tests notice. Without a break `broken` is always false,
 * and the compiler leaves nothing of this. */
#pragma once

#include <stdbool.h>

enum broken_order {
    BROKEN_NONE,
    BROKEN_WALK_BEFORE_GATHER, /* a core walks the order log, then gathers, then runs */
    BROKEN_SPLIT_IN_PIECES,    /* the parts of a split bundle are sent like hops, with no ticket */
    BROKEN_PUBLISH_IN_PIECES,  /* the same, of bundles of PUBLISHes alone */
    BROKEN_EARLY_RELEASE,      /* who runs a cross transaction lets the others go on before */
    BROKEN_NO_UNDO,            /* what a script wrote before it strayed stays */
    BROKEN_NO_WATCH,           /* EXEC takes every watch for unbroken */
    BROKEN_SERVE_WITHIN,       /* who waits is served between the commands of a transaction */
};

#ifndef BROKEN_ORDER
#define BROKEN_ORDER BROKEN_NONE
#endif

/* True where this build has the break. */
static inline bool broken(enum broken_order which)
{
    return which == BROKEN_ORDER;
}
