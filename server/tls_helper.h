/* Threads that do handshakes, so that no core's clients wait for the signatures of others.
 *
 * A handshake takes a signature with the server's key: a millisecond of CPU with RSA, and anybody
 * who can connect may ask for it. So a core hands the bytes of a handshake, and the conn with them,
 * to a helper, and touches neither until they are back: tls_helper_shake gives them away, the
 * helper puts them into the home core's `tls.done` and wakes it, tls_helper_take has them.
 *
 * Helpers start with the first handshake, one for four cores. They are less urgent than the cores
 * (nice): where CPUs are short, a storm of handshakes slows down handshakes. */
#pragma once

#include "server/core.h"

struct session_tls;

/* Goes on with a handshake. Any core. */
void tls_helper_shake(struct session_tls *t);
/* What came back to this core since: a chain by next_job, in any order. */
struct session_tls *tls_helper_take(struct core *c);
/* Main thread. */
struct tls_helpers *tls_helpers_create(void);
/* Main thread, once the cores have ended their loops and before they give up their rings: a helper
 * may still be about to wake a core that has taken its handshake already. */
void tls_helpers_stop(struct tls_helpers *h);
/* ... after that. */
void tls_helpers_destroy(struct tls_helpers *h);
