/* What the geo commands share: distances in units, and places in replies. */
#pragma once

#include "shard/call.h"
#include "shard/type/geohash.h"

/* Argument `i` as a unit, in metres; false, having replied, when it is none. */
bool geo_arg_unit(struct call *c, uint32_t i, double *unit_m);
/* Args `i` and `i` + 1 as longitude and latitude; false, having replied, when they are none. */
bool geo_arg_point(struct call *c, uint32_t i, struct geo_point *p);
/* A distance, with four digits after the point. */
void geo_reply_distance(struct reply *r, double distance);
/* Longitude and latitude: as bulks in RESP2, as doubles of more than a double's digits in RESP3. */
void geo_reply_point(struct reply *r, struct geo_point p);
