/* Geohash: places on the earth as numbers, so that places near each other mostly are numbers near
 * each other.
 *
 * Source: G. Niemeyer's geohash (2008), in the form that the Redis documentation gives it.
 * Longitude and latitude are each scaled to 26 bits and these interleaved, a longitude's bit above
 * the latitude's of the same weight: 52 bits, which a double holds exactly, so they are a sorted
 * set's scores. The first 2n bits name a cell of a grid of 2^n by 2^n; all places of a cell are one
 * run of scores. The grid ends at the latitudes where the web's Mercator map (EPSG:900913) is
 * square.
 *
 * A search covers its area with the cell of its centre and the eight around it, each about as wide
 * as the area, and measures what is found there by the great circle (haversine). Formulas and their
 * order are Redis's, so that distances come out the same to the last digit shown.
 *
 * Pure functions; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define GEO_LONGITUDE_MAX 180.0
#define GEO_LATITUDE_MAX 85.05112878

#define GEOHASH_STEPS_MAX 26 /* bits of each coordinate */
#define GEOHASH_TEXT_SIZE 11
#define GEOHASH_COVER_MAX 9

struct geo_point {
    double longitude, latitude; /* degrees */
};

/* What is searched: a circle, or a box whose sides run along the compass. */
struct geo_area {
    struct geo_point centre;
    bool box;
    double radius_m;           /* of a circle */
    double width_m, height_m;  /* of a box */
};

/* Geohashes from `first` to below `end`. */
struct geohash_range {
    uint64_t first, end;
};

static inline bool geo_point_valid(struct geo_point p)
{
    return p.longitude >= -GEO_LONGITUDE_MAX && p.longitude <= GEO_LONGITUDE_MAX &&
           p.latitude >= -GEO_LATITUDE_MAX && p.latitude <= GEO_LATITUDE_MAX;
}

/* The geohash of a valid point. */
uint64_t geohash_encode(struct geo_point p);
/* The middle of the cell that a geohash names. Any bits make a valid point. */
struct geo_point geohash_decode(uint64_t bits);
/* The same of a sorted set's score, whatever it is. */
struct geo_point geohash_decode_score(double score);
/* The standard text of a point: base 32, on a grid from pole to pole; the last character is always
 * '0', as 52 bits do not reach it. No terminator is written. */
void geohash_text(struct geo_point p, char text[GEOHASH_TEXT_SIZE]);

/* Metres along the great circle. */
double geo_distance(struct geo_point a, struct geo_point b);
/* True, with the distance from the centre, where the point is in the area. */
bool geo_area_contains(const struct geo_area *area, struct geo_point p, double *distance_m);
/* Ranges that together have all points of the area (and others), in the order that Redis visits
 * them; returns how many. */
uint32_t geohash_cover(const struct geo_area *area, struct geohash_range *ranges);
