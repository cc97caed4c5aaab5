/* Geohashes, distances, and the cover of areas: its cells have every point of the area. */
#include "shard/type/geohash.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

TestSuite(geohash);

static uint64_t random_state = 88172645463325252u;

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static struct geo_point random_point(double latitude_max)
{
    return (struct geo_point){(random_unit() * 2 - 1) * GEO_LONGITUDE_MAX,
                              (random_unit() * 2 - 1) * latitude_max};
}

/* The geohashes of the Redis documentation's examples. */
Test(geohash, known_places_have_their_known_hashes)
{
    struct geo_point palermo = {13.361389, 38.115556}, catania = {15.087269, 37.502669};
    cr_expect_eq(geohash_encode(palermo), 3479099956230698u);
    cr_expect_eq(geohash_encode(catania), 3479447370796909u);
    char text[GEOHASH_TEXT_SIZE];
    geohash_text(geohash_decode(3479099956230698u), text);
    cr_expect(memcmp(text, "sqc8b49rny0", GEOHASH_TEXT_SIZE) == 0);
    double distance = geo_distance(geohash_decode(3479099956230698u),
                                   geohash_decode(3479447370796909u));
    cr_expect_float_eq(distance, 166274.1516, 0.0001);
}

Test(geohash, a_place_comes_back_within_half_a_metre)
{
    for (int i = 0; i < 20000; i++) {
        struct geo_point p = random_point(GEO_LATITUDE_MAX);
        uint64_t bits = geohash_encode(p);
        cr_assert_lt(bits, (uint64_t)1 << 52);
        struct geo_point back = geohash_decode(bits);
        cr_assert_lt(geo_distance(p, back), 0.5);
        cr_assert_eq(geohash_encode(back), bits);
    }
}

Test(geohash, any_score_decodes_to_a_valid_place)
{
    const double scores[] = {-1, -1e300, 1e18, 1.5e19, 1e300, INFINITY, -INFINITY, 0.5, 0x1p52};
    for (size_t i = 0; i < sizeof(scores) / sizeof(scores[0]); i++)
        cr_expect(geo_point_valid(geohash_decode_score(scores[i])), "%g", scores[i]);
}

Test(geohash, the_edges_of_the_map_are_on_it)
{
    struct geo_point corner = {GEO_LONGITUDE_MAX, GEO_LATITUDE_MAX};
    cr_expect(geo_point_valid(corner));
    cr_expect(geo_point_valid(geohash_decode(geohash_encode(corner))));
    cr_expect_eq(geohash_encode((struct geo_point){-GEO_LONGITUDE_MAX, -GEO_LATITUDE_MAX}), 0u);
    cr_expect_not(geo_point_valid((struct geo_point){180.1, 0}));
    cr_expect_not(geo_point_valid((struct geo_point){0, 85.06}));
}

Test(geohash, distance_is_a_metric)
{
    for (int i = 0; i < 5000; i++) {
        struct geo_point a = random_point(85), b = random_point(85), c = random_point(85);
        double ab = geo_distance(a, b), bc = geo_distance(b, c), ac = geo_distance(a, c);
        cr_assert_float_eq(ab, geo_distance(b, a), 1e-6);
        cr_assert_leq(ac, ab + bc + 1e-6);
        cr_assert_eq(geo_distance(a, a), 0);
    }
    struct geo_point south = {7, -10}, north = {7, 10};
    cr_expect_float_eq(geo_distance(south, north), 6372797.560856 * M_PI / 9, 1e-6);
}

static bool covered(const struct geohash_range *ranges, uint32_t count, uint64_t bits)
{
    for (uint32_t i = 0; i < count; i++)
        if (bits >= ranges[i].first && bits < ranges[i].end)
            return true;
    return false;
}

/* Away from the poles and the date line, where Redis's cover is known to have gaps. */
Test(geohash, the_cover_has_every_point_of_the_area)
{
    uint64_t inside = 0;
    for (int i = 0; i < 3000; i++) {
        struct geo_point centre = {(random_unit() * 2 - 1) * 150, (random_unit() * 2 - 1) * 60};
        double size = pow(10, 1 + random_unit() * 5);
        struct geo_area area = {.centre = centre, .box = i % 2, .radius_m = size,
                                .width_m = size, .height_m = size * (0.2 + random_unit())};
        struct geohash_range ranges[GEOHASH_COVER_MAX];
        uint32_t count = geohash_cover(&area, ranges);
        cr_assert(count >= 1 && count <= GEOHASH_COVER_MAX);
        double degrees = size / 50000;
        for (int k = 0; k < 40; k++) {
            struct geo_point p = {centre.longitude + (random_unit() * 2 - 1) * degrees,
                                  centre.latitude + (random_unit() * 2 - 1) * degrees};
            double distance;
            if (!geo_point_valid(p) || !geo_area_contains(&area, p, &distance))
                continue;
            inside++;
            cr_assert(covered(ranges, count, geohash_encode(p)), "%f %f in %f of %f %f",
                      p.longitude, p.latitude, size, centre.longitude, centre.latitude);
        }
    }
    cr_assert_gt(inside, 10000u);
}

Test(geohash, the_ranges_of_a_cover_are_different)
{
    for (int i = 0; i < 3000; i++) {
        struct geo_area area = {.centre = random_point(GEO_LATITUDE_MAX),
                                .radius_m = pow(10, random_unit() * 5)};
        struct geohash_range ranges[GEOHASH_COVER_MAX];
        uint32_t count = geohash_cover(&area, ranges);
        for (uint32_t a = 0; a < count; a++)
            for (uint32_t b = 0; b < a; b++)
                cr_assert(ranges[a].end <= ranges[b].first || ranges[b].end <= ranges[a].first);
    }
}
