/* GEOADD ... GEOSEARCHSTORE: replies as Redis gives them, and searches against looking at every
 * place. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "shard/type/geohash.h"
#include "test/shard/cmd_driver.h"

#define PLACES 300

static struct world world;

static void start(void)
{
    world_init(&world, 4);
    world.keyspace.options.zset_max_listpack_entries = 128;
    world.keyspace.options.zset_max_listpack_value = 64;
}

static void stop(void)
{
    world_deinit(&world);
}

TestSuite(geo_cmd, .init = start, .fini = stop);

static void expect(const char *line, const char *reply)
{
    const char *got = world_run(&world, line);
    cr_expect_str_eq(got, reply, "%s: %s", line, got);
}

static void add_sicily(void)
{
    expect("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2\r\n");
}

static uint64_t random_state = 88172645463325252u;

static double random_unit(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

Test(geo_cmd, places_and_distances_come_out_as_in_redis)
{
    add_sicily();
    expect("GEODIST g Palermo Catania", "$11\r\n166274.1516\r\n");
    expect("GEODIST g Palermo Catania km", "$8\r\n166.2742\r\n");
    expect("GEODIST g Palermo Palermo mi", "$6\r\n0.0000\r\n");
    expect("GEODIST g Palermo nobody", "$-1\r\n");
    expect("GEOPOS g Palermo nobody",
           "*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n");
    expect("GEOHASH g Catania nobody", "*2\r\n$11\r\nsqdtr74hyu0\r\n$-1\r\n");
    world.protocol = 3;
    expect("GEOPOS g Palermo nobody",
           "*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n");
}

Test(geo_cmd, adding_heeds_its_conditions)
{
    add_sicily();
    expect("GEOADD g CH 13.361389 38.115556 Palermo 1 1 new", ":1\r\n");
    expect("GEOADD g CH 14 38 Palermo", ":1\r\n");
    expect("GEOADD g NX CH 15 38 Palermo 2 2 other", ":1\r\n");
    expect("GEOADD g XX 15 38 nobody", ":0\r\n");
    expect("GEOADD absent XX 15 38 nobody", ":0\r\n");
    expect("EXISTS absent", ":0\r\n");
    expect("ZCARD g", ":4\r\n");
    expect("GEOADD g XX NX 1 1 a", "-ERR syntax error\r\n");
    expect("GEOADD g 1 1 a 2", "-ERR syntax error\r\n");
    expect("GEOADD g 1 1 a 200 100 b",
           "-ERR invalid longitude,latitude pair 200.000000,100.000000\r\n");
    expect("ZSCORE g a", "$-1\r\n");
}

Test(geo_cmd, a_search_says_what_it_is_asked_for)
{
    add_sicily();
    expect("GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
           "*2\r\n$7\r\nCatania\r\n$7\r\nPalermo\r\n");
    expect("GEORADIUS g 15 37 200 km WITHDIST WITHHASH COUNT 1",
           "*1\r\n*3\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n:3479447370796909\r\n");
    expect("GEORADIUS_RO g 15 37 200 km DESC", "*2\r\n$7\r\nPalermo\r\n$7\r\nCatania\r\n");
    expect("GEORADIUSBYMEMBER g Palermo 100 km", "*1\r\n$7\r\nPalermo\r\n");
    expect("GEORADIUSBYMEMBER_RO g nobody 100 km",
           "-ERR could not decode requested zset member\r\n");
    expect("GEORADIUS_RO g 15 37 200 km STORE dst", "-ERR syntax error\r\n");
    expect("GEORADIUS g 15 37 200 km STORE dst WITHDIST",
           "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD "
           "options\r\n");
    expect("GEOSEARCH g BYRADIUS 200 km ASC DESC",
           "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH\r\n");
    expect("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 km ANY",
           "-ERR the ANY argument requires COUNT argument\r\n");
}

Test(geo_cmd, a_search_is_kept_by_hash_or_by_distance)
{
    add_sicily();
    expect("GEOSEARCHSTORE dst g FROMLONLAT 15 37 BYBOX 400 400 km", ":2\r\n");
    expect("ZSCORE dst Palermo", "$16\r\n3479099956230698\r\n");
    expect("GEORADIUS g 15 37 200 km STOREDIST dst COUNT 1", ":1\r\n");
    expect("ZRANGE dst 0 -1 WITHSCORES", "*2\r\n$7\r\nCatania\r\n$16\r\n56.4412578701582\r\n");
    expect("GEOSEARCHSTORE dst g FROMLONLAT 0 0 BYRADIUS 1 m", ":0\r\n");
    expect("EXISTS dst", ":0\r\n");
    expect("GEORADIUS nokey 15 37 200 km STORE g", ":0\r\n");
    expect("EXISTS g", ":0\r\n");
}

struct near {
    int place;
    double distance;
};

static int compare_near(const void *a, const void *b)
{
    const struct near *x = a, *y = b;
    return x->distance < y->distance ? -1 : x->distance > y->distance;
}

/* The reply of an ascending search for the `count` nearest. */
static const char *listed(struct near *near, int found, int count)
{
    static char text[PLACES * 16];
    qsort(near, (size_t)found, sizeof(*near), compare_near);
    if (count && count < found)
        found = count;
    size_t at = (size_t)snprintf(text, sizeof(text), "*%d\r\n", found);
    for (int i = 0; i < found; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "$4\r\np%03d\r\n", near[i].place);
    return text;
}

Test(geo_cmd, a_search_finds_what_looking_at_every_place_finds)
{
    struct geo_point points[PLACES];
    char line[160];
    for (int i = 0; i < PLACES; i++) {
        struct geo_point p = {random_unit() * 40 - 20, random_unit() * 40 - 20};
        snprintf(line, sizeof(line), "GEOADD g %.9f %.9f p%03d", p.longitude, p.latitude, i);
        expect(line, ":1\r\n");
        points[i] = geohash_decode(geohash_encode(p));
    }
    for (int round = 0; round < 300; round++) {
        double width = floor(pow(10, 4 + random_unit() * 2.5)), height = floor(width * 0.7);
        struct geo_area area = {.box = round % 2, .radius_m = width, .width_m = width,
                                .height_m = height};
        int from = (int)(random_unit() * PLACES), count = round % 3 ? 0 : 5;
        area.centre = points[from];
        struct near near[PLACES];
        int found = 0;
        for (int i = 0; i < PLACES; i++)
            if (geo_area_contains(&area, points[i], &near[found].distance))
                near[found++].place = i;
        char shape[64];
        if (area.box)
            snprintf(shape, sizeof(shape), "BYBOX %.0f %.0f", width, height);
        else
            snprintf(shape, sizeof(shape), "BYRADIUS %.0f", width);
        snprintf(line, sizeof(line), "GEOSEARCH g FROMMEMBER p%03d %s m ASC%s", from, shape,
                 count ? " COUNT 5" : "");
        expect(line, listed(near, found, count));
    }
}
