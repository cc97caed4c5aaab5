/* Routing: which cores a session's requests need, and how they get there. */
#pragma once

#include "server/core.h"

/* Takes a prefix of the requests parsed from one session and sends it where it belongs: to this
 * core's run list, as a hop, as a split bundle or as a cross transaction. What is not taken stays
 * with the caller, to be fed again when this is done. Returns the number taken; 0: held back
 * (CLIENT PAUSE). `source`: the bytes that the requests were parsed from; `copy`: they do not
 * outlive the iteration. */
uint32_t route_requests(struct core *c, struct session *s, struct request *requests, uint32_t count,
                        struct slice source, bool copy);

/* The cores whose shards a request on data needs. */
void route_mask(const struct core *c, const struct request *r, struct core_mask *mask);
