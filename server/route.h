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

/* Runs a group of requests that were put off to the run step, or sends them where they belong. */
void route_away(struct core *c, struct request *requests);
/* Whether CLIENT PAUSE holds back a request. */
bool route_holds_back(const struct core *c, const struct request *r);
/* Finds out which shards a request needs: sets r->kind and r->shard; where that is
 * BUNDLE_SHARD_MANY, *many says which. */
void route_classify(struct core *c, struct session *s, struct request *r, struct core_mask *many);
/* The shard of a request of route KEY. */
uint32_t route_single_shard(const struct core *c, const struct request *r);
/* The cores whose shards a request on data needs. */
void route_mask(const struct core *c, const struct request *r, struct core_mask *mask);
