/* Geohashes and distances: see geohash.h. */
#include "shard/type/geohash.h"

#include <math.h>

#define EARTH_RADIUS_M 6372797.560856
#define RADIANS_PER_DEGREE (M_PI / 180.0)
/* Half the circumference on the Mercator map, in metres. */
#define MERCATOR_MAX_M 20037726.37

#define LATITUDE_BITS 0x5555555555555555u
#define LONGITUDE_BITS 0xaaaaaaaaaaaaaaaau

/* A cell of the grid of 2^steps by 2^steps. */
struct cell {
    uint64_t bits;
    uint32_t steps;
};

struct bounds {
    double west, east, south, north;
};

static double radians(double degrees)
{
    return degrees * RADIANS_PER_DEGREE;
}

static double degrees(double radians_)
{
    return radians_ / RADIANS_PER_DEGREE;
}

/* --- Bits --- */

/* Moves bit i to bit 2i. Source: S. E. Anderson, "Bit Twiddling Hacks", interleaving by magic
 * numbers. */
static uint64_t spread_bits(uint32_t value)
{
    uint64_t x = value;
    x = (x | x << 16) & 0x0000ffff0000ffffu;
    x = (x | x << 8) & 0x00ff00ff00ff00ffu;
    x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
    x = (x | x << 2) & 0x3333333333333333u;
    return (x | x << 1) & LATITUDE_BITS;
}

static uint32_t gather_bits(uint64_t x)
{
    x &= LATITUDE_BITS;
    x = (x | x >> 1) & 0x3333333333333333u;
    x = (x | x >> 2) & 0x0f0f0f0f0f0f0f0fu;
    x = (x | x >> 4) & 0x00ff00ff00ff00ffu;
    x = (x | x >> 8) & 0x0000ffff0000ffffu;
    return (uint32_t)(x | x >> 16);
}

/* Which of 2^steps equal parts of [-max, max] a coordinate is in. The upper end gives 2^steps, one
 * too many: Redis's geohashes have it so. */
static uint32_t scale(double value, double max, uint32_t steps)
{
    double part = (value + max) / (max + max);
    return (uint32_t)(part * (double)(1ull << steps));
}

static uint64_t encode(struct geo_point p, double latitude_max, uint32_t steps)
{
    return spread_bits(scale(p.latitude, latitude_max, steps)) |
           spread_bits(scale(p.longitude, GEO_LONGITUDE_MAX, steps)) << 1;
}

/* Where part `index` of 2^steps begins. */
static double unscale(uint32_t index, double max, uint32_t steps)
{
    return -max + (double)index / (double)(1ull << steps) * (max + max);
}

static struct bounds cell_bounds(struct cell c)
{
    uint32_t latitude = gather_bits(c.bits), longitude = gather_bits(c.bits >> 1);
    return (struct bounds){
        .west = unscale(longitude, GEO_LONGITUDE_MAX, c.steps),
        .east = unscale(longitude + 1, GEO_LONGITUDE_MAX, c.steps),
        .south = unscale(latitude, GEO_LATITUDE_MAX, c.steps),
        .north = unscale(latitude + 1, GEO_LATITUDE_MAX, c.steps),
    };
}

static double clamp(double value, double max)
{
    return value > max ? max : value < -max ? -max : value;
}

uint64_t geohash_encode(struct geo_point p)
{
    return encode(p, GEO_LATITUDE_MAX, GEOHASH_STEPS_MAX);
}

struct geo_point geohash_decode(uint64_t bits)
{
    struct bounds b = cell_bounds((struct cell){bits, GEOHASH_STEPS_MAX});
    return (struct geo_point){clamp((b.west + b.east) / 2, GEO_LONGITUDE_MAX),
                              clamp((b.south + b.north) / 2, GEO_LATITUDE_MAX)};
}

/* Scores that are no geohash are taken as x86-64 converts doubles to 64 bits, which is what Redis
 * shows there: negative ones wrap around. */
struct geo_point geohash_decode_score(double score)
{
    uint64_t bits;
    if (score >= 0x1p63)
        bits = score < 0x1p64 ? (uint64_t)score : 0;
    else if (score >= -0x1p63)
        bits = (uint64_t)(int64_t)score;
    else
        bits = (uint64_t)1 << 63;
    return geohash_decode(bits);
}

void geohash_text(struct geo_point p, char text[GEOHASH_TEXT_SIZE])
{
    static const char digits[] = "0123456789bcdefghjkmnpqrstuvwxyz";
    uint64_t bits = encode(p, 90, GEOHASH_STEPS_MAX);
    for (uint32_t i = 0; i < GEOHASH_TEXT_SIZE - 1; i++)
        text[i] = digits[bits >> (2 * GEOHASH_STEPS_MAX - 5 * (i + 1)) & 31];
    text[GEOHASH_TEXT_SIZE - 1] = '0';
}

/* --- Distances --- */

static double latitude_distance(double a, double b)
{
    return EARTH_RADIUS_M * fabs(radians(b) - radians(a));
}

double geo_distance(struct geo_point a, struct geo_point b)
{
    double v = sin((radians(b.longitude) - radians(a.longitude)) / 2);
    if (v == 0)
        return latitude_distance(a.latitude, b.latitude);
    double from = radians(a.latitude), to = radians(b.latitude);
    double u = sin((to - from) / 2);
    double h = u * u + cos(from) * cos(to) * v * v;
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(h));
}

bool geo_area_contains(const struct geo_area *area, struct geo_point p, double *distance_m)
{
    if (!area->box) {
        *distance_m = geo_distance(area->centre, p);
        return !(*distance_m > area->radius_m);
    }
    if (latitude_distance(p.latitude, area->centre.latitude) > area->height_m / 2)
        return false;
    struct geo_point beside = {area->centre.longitude, p.latitude};
    if (geo_distance(p, beside) > area->width_m / 2)
        return false;
    *distance_m = geo_distance(area->centre, p);
    return true;
}

/* --- Covering an area --- */

/* Meridians meet at the poles: as many metres are more degrees at the area's edge nearer to one.
 * Redis takes the edge to the north in the northern hemisphere and to the south in the southern. */
static struct bounds area_bounds(const struct geo_area *area)
{
    double height = area->box ? area->height_m / 2 : area->radius_m;
    double width = area->box ? area->width_m / 2 : area->radius_m;
    struct geo_point at = area->centre;
    double up = degrees(height / EARTH_RADIUS_M);
    double edge = at.latitude < 0 ? at.latitude - up : at.latitude + up;
    double aside = degrees(width / EARTH_RADIUS_M / cos(radians(edge)));
    return (struct bounds){at.longitude - aside, at.longitude + aside, at.latitude - up,
                           at.latitude + up};
}

/* The steps at which a cell is about as wide as the area. */
static uint32_t estimate_steps(double radius_m, double latitude)
{
    if (radius_m == 0)
        return GEOHASH_STEPS_MAX;
    int steps = -1;
    for (; radius_m < MERCATOR_MAX_M; radius_m *= 2)
        steps++;
    if (fabs(latitude) > 66)
        steps -= fabs(latitude) > 80 ? 2 : 1;
    if (steps < 1)
        return 1;
    return steps > GEOHASH_STEPS_MAX ? GEOHASH_STEPS_MAX : (uint32_t)steps;
}

/* The cell `east` cells to the east and `north` to the north (-1 to 1), around the edges of the
 * grid. */
static struct cell neighbour(struct cell c, int east, int north)
{
    uint32_t mask = (uint32_t)((1ull << c.steps) - 1);
    uint32_t longitude = (gather_bits(c.bits >> 1) + (uint32_t)east);
    uint32_t latitude = (gather_bits(c.bits) + (uint32_t)north);
    if (east)
        longitude &= mask;
    if (north)
        latitude &= mask;
    return (struct cell){spread_bits(latitude) | spread_bits(longitude) << 1, c.steps};
}

/* True where the cell and those around it do not reach as far as the area does. */
static bool falls_short(struct cell c, const struct bounds *area)
{
    return cell_bounds(neighbour(c, 0, 1)).north < area->north ||
           cell_bounds(neighbour(c, 0, -1)).south > area->south ||
           cell_bounds(neighbour(c, 1, 0)).east < area->east ||
           cell_bounds(neighbour(c, -1, 0)).west > area->west;
}

static struct cell centre_cell(const struct geo_area *area, const struct bounds *bounds)
{
    double radius = area->radius_m;
    if (area->box)
        radius = sqrt(area->width_m / 2 * (area->width_m / 2) +
                      area->height_m / 2 * (area->height_m / 2));
    uint32_t steps = estimate_steps(radius, area->centre.latitude);
    struct cell c = {encode(area->centre, GEO_LATITUDE_MAX, steps), steps};
    if (steps > 1 && falls_short(c, bounds)) {
        c.steps--;
        c.bits = encode(area->centre, GEO_LATITUDE_MAX, c.steps);
    }
    return c;
}

/* True where the area ends within the centre's cell on the side where the neighbour is. */
static bool is_needless(const struct bounds *cell, const struct bounds *area, int east, int north)
{
    return (north < 0 && cell->south < area->south) || (north > 0 && cell->north > area->north) ||
           (east < 0 && cell->west < area->west) || (east > 0 && cell->east > area->east);
}

uint32_t geohash_cover(const struct geo_area *area, struct geohash_range *ranges)
{
    static const struct {
        int east, north;
    } order[GEOHASH_COVER_MAX] = {{0, 0}, {0, 1},  {0, -1}, {1, 0},  {-1, 0},
                                  {1, 1}, {-1, 1}, {1, -1}, {-1, -1}};
    struct bounds bounds = area_bounds(area);
    struct cell centre = centre_cell(area, &bounds);
    struct bounds cell = cell_bounds(centre);
    uint32_t shift = 2 * (GEOHASH_STEPS_MAX - centre.steps);
    uint32_t count = 0;
    for (uint32_t i = 0; i < GEOHASH_COVER_MAX; i++) {
        if (centre.steps >= 2 && is_needless(&cell, &bounds, order[i].east, order[i].north))
            continue;
        uint64_t bits = neighbour(centre, order[i].east, order[i].north).bits;
        struct geohash_range range = {bits << shift, (bits + 1) << shift};
        /* On the coarsest grids neighbours on two sides are one cell. */
        if (count > 1 && ranges[count - 1].first == range.first)
            continue;
        ranges[count++] = range;
    }
    return count;
}
