/* Places in sorted sets: GEOADD, GEODIST, GEOHASH, GEOPOS. A member's score is its place's geohash;
 * there is no type of its own, and all commands on sorted sets work on them. geo_search.c has the
 * searches. */
#include "shard/cmd/geo.h"

#include <math.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "shard/db.h"
#include "shard/type/zset.h"

bool geo_arg_unit(struct call *c, uint32_t i, double *unit_m)
{
    static const struct {
        const char *name;
        double metres;
    } units[] = {{"m", 1}, {"km", 1000}, {"ft", 0.3048}, {"mi", 1609.34}};
    for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
        if (call_arg_is(c, i, units[u].name)) {
            *unit_m = units[u].metres;
            return true;
        }
    }
    reply_error(&c->reply, "ERR unsupported unit provided. please use M, KM, FT, MI");
    return false;
}

bool geo_arg_point(struct call *c, uint32_t i, struct geo_point *p)
{
    if (!call_arg_double(c, i, &p->longitude) || !call_arg_double(c, i + 1, &p->latitude))
        return false;
    if (geo_point_valid(*p))
        return true;
    reply_error(&c->reply, "ERR invalid longitude,latitude pair %f,%f", p->longitude, p->latitude);
    return false;
}

void geo_reply_distance(struct reply *r, double distance)
{
    char text[NUMBER_INTEGER_SIZE_MAX + 2];
    uint64_t value = (uint64_t)llrint(distance * 10000);
    size_t size = number_format_unsigned(text, value / 10000);
    text[size++] = '.';
    for (uint64_t place = 1000, rest = value % 10000; place; place /= 10)
        text[size++] = (char)('0' + rest / place % 10);
    reply_bulk(r, (struct slice){text, size});
}

static void reply_coordinate(struct reply *r, double value)
{
    if (r->protocol < 3) {
        reply_long_double(r, value);
        return;
    }
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    size_t size = number_format_long_double(text, value);
    buf_append(r->out, ",", 1);
    buf_append(r->out, text, size);
    buf_append(r->out, "\r\n", 2);
}

void geo_reply_point(struct reply *r, struct geo_point p)
{
    reply_array(r, 2);
    reply_coordinate(r, p.longitude);
    reply_coordinate(r, p.latitude);
}

/* --- GEOADD --- */

struct add_options {
    unsigned conditions; /* zset_change's, for NX and XX */
    bool changes;        /* CH: count those that were given another place as well */
    uint32_t first;      /* the arg that is the first longitude */
    uint32_t count;      /* members */
};

static bool read_add_options(struct call *c, struct add_options *o)
{
    *o = (struct add_options){.first = 2};
    for (; o->first < c->argc; o->first++) {
        if (call_arg_is(c, o->first, "nx"))
            o->conditions |= ZSET_ONLY_NEW;
        else if (call_arg_is(c, o->first, "xx"))
            o->conditions |= ZSET_ONLY_PRESENT;
        else if (call_arg_is(c, o->first, "ch"))
            o->changes = true;
        else
            break;
    }
    uint32_t args = c->argc - o->first;
    o->count = args / 3;
    if (args == 0 || args % 3 || o->conditions == (ZSET_ONLY_NEW | ZSET_ONLY_PRESENT)) {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

static bool read_scores(struct call *c, const struct add_options *o, double *scores)
{
    for (uint32_t i = 0; i < o->count; i++) {
        struct geo_point p;
        if (!geo_arg_point(c, o->first + 3 * i, &p))
            return false;
        scores[i] = (double)geohash_encode(p);
    }
    return true;
}

static void add_members(struct call *c, const struct add_options *o, double *scores)
{
    struct place p;
    if (!db_find_type(c, 1, DB_WRITE, TYPE_ZSET, &p))
        return;
    int64_t added = 0, moved = 0;
    if (p.entry || !(o->conditions & ZSET_ONLY_PRESENT)) {
        struct value v = db_value(&p, TYPE_ZSET);
        for (uint32_t i = 0; i < o->count; i++) {
            struct slice member = c->argv[o->first + 3 * i + 2];
            enum zset_outcome outcome =
                zset_change(&v, c->keyspace, member, o->conditions, &scores[i]);
            added += outcome == ZSET_ADDED;
            moved += outcome == ZSET_MOVED;
        }
        db_keep(&p, &v);
    }
    if (added + moved) {
        db_changed(c, &p);
        db_notify(&p, NOTIFY_ZSET, "zadd");
    }

    reply_integer(&c->reply, o->changes ? added + moved : added);
}

static void geoadd_run(struct call *c)
{
    struct add_options o;
    if (!read_add_options(c, &o))
        return;

    double *scores = mem_alloc(o.count * sizeof(*scores));
    if (read_scores(c, &o, scores))
        add_members(c, &o, scores);
    mem_free(scores);
}

/* --- Asking for places --- */

static bool member_point(const struct call *c, const struct value *v, uint32_t arg,
                         struct geo_point *p)
{
    double score;
    if (!zset_score(v, c->keyspace, c->argv[arg], &score))
        return false;
    *p = geohash_decode_score(score);
    return true;
}

static void geodist_run(struct call *c)
{
    double unit_m = 1;
    if (c->argc == 5 && !geo_arg_unit(c, 4, &unit_m))
        return;
    if (c->argc > 5) {
        reply_error_syntax(&c->reply);
        return;
    }

    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    struct geo_point from, to;
    bool both = false;
    if (p.entry) {
        struct value v = db_value(&p, TYPE_ZSET);
        both = member_point(c, &v, 2, &from) && member_point(c, &v, 3, &to);
    }

    if (both)
        geo_reply_distance(&c->reply, geo_distance(from, to) / unit_m);
    else
        reply_null(&c->reply);
}

/* Replies an array of what `present` says of each member named, or `absent`. */
static void reply_members(struct call *c, void (*present)(struct reply *r, struct geo_point p),
                          void (*absent)(struct reply *r))
{
    struct place p;
    if (!db_find_type(c, 1, DB_READ, TYPE_ZSET, &p))
        return;
    struct value v;
    if (p.entry)
        v = db_value(&p, TYPE_ZSET);

    reply_array(&c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        struct geo_point at;
        if (p.entry && member_point(c, &v, i, &at))
            present(&c->reply, at);
        else
            absent(&c->reply);
    }
}

static void reply_text(struct reply *r, struct geo_point p)
{
    geohash_text(p, reply_bulk_space(r, GEOHASH_TEXT_SIZE));
}

static void geohash_run(struct call *c)
{
    reply_members(c, reply_text, reply_null);
}

static void geopos_run(struct call *c)
{
    reply_members(c, geo_reply_point, reply_null_array);
}

const struct command geo_commands[] = {
    {
        .name = "geoadd",
        .run = geoadd_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RW | KEY_UPDATE),
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(log(N)) for each item added, where N is the number of elements in the "
                      "sorted set.",
        .syntax = "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        .summary = "Adds members at places given by longitude and latitude.",
    },
    {
        .name = "geodist",
        .run = geodist_run,
        .arity = -4,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(log(N))",
        .syntax = "key member1 member2 [M | KM | FT | MI]",
        .summary = "Returns the distance between two members.",
    },
    {
        .name = "geohash",
        .run = geohash_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(log(N)) for each member requested, where N is the number of elements in "
                      "the sorted set.",
        .syntax = "key [member [member ...]]",
        .summary = "Returns the places of members as geohash text.",
    },
    {
        .name = "geopos",
        .run = geopos_run,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(N) where N is the number of members requested.",
        .syntax = "key [member [member ...]]",
        .summary = "Returns the longitude and latitude of members.",
    },
    {0},
};
