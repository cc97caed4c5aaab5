/* Searching places: GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS and GEORADIUSBYMEMBER.
 *
 * A search goes through the ranges of geohashes that cover its area and keeps the members that are
 * in the area indeed. Without an order they come as they were found, as in Redis; with one, those
 * of the same distance do. */
#include <math.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/cmd/geo.h"
#include "shard/cmd/zset_result.h"

enum search_order { ORDER_FOUND, ORDER_ASC, ORDER_DESC };

/* A form of search: what its name says. */
struct form {
    bool area_options;  /* GEOSEARCH and GEOSEARCHSTORE: options say where */
    bool by_member;     /* GEORADIUSBYMEMBER */
    bool store_options; /* GEORADIUS may say STORE */
    bool stores;        /* GEOSEARCHSTORE */
};

struct search {
    struct value v;
    bool present;  /* the key exists */
    struct geo_area area;
    double unit_m;
    bool from_point, from_member, by_radius, by_box;
    bool with_coord, with_dist, with_hash;
    bool any;
    bool store_dist;
    uint32_t store_arg; /* 0: the members are replied */
    enum search_order order;
    uint64_t count;     /* 0: all */
};

/* --- Arguments --- */

static bool read_from_member(struct call *c, struct search *s, uint32_t i)
{
    double score;
    s->from_member = true;
    if (!s->present)
        return true;
    if (!zset_score(&s->v, c->keyspace, c->argv[i], &score)) {
        reply_error(&c->reply, "ERR could not decode requested zset member");
        return false;
    }
    s->area.centre = geohash_decode_score(score);
    return true;
}

static bool read_distance(struct call *c, uint32_t i, const char *what, double *value)
{
    if (number_parse_double(c->argv[i], value))
        return true;
    reply_error(&c->reply, "ERR need numeric %s", what);
    return false;
}

/* A radius and its unit at args `i` and `i` + 1. */
static bool read_radius(struct call *c, struct search *s, uint32_t i)
{
    double radius;
    if (!read_distance(c, i, "radius", &radius))
        return false;
    if (radius < 0) {
        reply_error(&c->reply, "ERR radius cannot be negative");
        return false;
    }
    if (!geo_arg_unit(c, i + 1, &s->unit_m))
        return false;
    s->area.radius_m = radius * s->unit_m;
    s->by_radius = true;
    return true;
}

static bool read_box(struct call *c, struct search *s, uint32_t i)
{
    double width, height;
    if (!read_distance(c, i, "width", &width) || !read_distance(c, i + 1, "height", &height))
        return false;
    if (width < 0 || height < 0) {
        reply_error(&c->reply, "ERR height or width cannot be negative");
        return false;
    }
    if (!geo_arg_unit(c, i + 2, &s->unit_m))
        return false;
    s->area.box = true;
    s->area.width_m = width * s->unit_m;
    s->area.height_m = height * s->unit_m;
    s->by_box = true;
    return true;
}

static bool read_count(struct call *c, struct search *s, uint32_t i)
{
    int64_t count;
    if (!call_arg_integer(c, i, &count))
        return false;
    if (count <= 0) {
        reply_error(&c->reply, "ERR COUNT must be > 0");
        return false;
    }
    s->count = (uint64_t)count;
    return true;
}

static bool read_flag(struct call *c, struct search *s, uint32_t i)
{
    if (call_arg_is(c, i, "withdist"))
        s->with_dist = true;
    else if (call_arg_is(c, i, "withhash"))
        s->with_hash = true;
    else if (call_arg_is(c, i, "withcoord"))
        s->with_coord = true;
    else if (call_arg_is(c, i, "any"))
        s->any = true;
    else if (call_arg_is(c, i, "asc"))
        s->order = ORDER_ASC;
    else if (call_arg_is(c, i, "desc"))
        s->order = ORDER_DESC;
    else
        return false;
    return true;
}

/* What reading an option came to: how many more args it took, or one of these. */
#define NO_OPTION (-1)
#define FAILED (-2)

/* An option of GEOSEARCH that says where. */
static int read_area_option(struct call *c, struct search *s, uint32_t i)
{
    uint32_t left = c->argc - i - 1;
    if (left >= 1 && !s->from_point && call_arg_is(c, i, "frommember"))
        return read_from_member(c, s, i + 1) ? 1 : FAILED;
    if (left >= 2 && !s->from_member && call_arg_is(c, i, "fromlonlat")) {
        s->from_point = true;
        return geo_arg_point(c, i + 1, &s->area.centre) ? 2 : FAILED;
    }
    if (left >= 2 && !s->by_box && call_arg_is(c, i, "byradius"))
        return read_radius(c, s, i + 1) ? 2 : FAILED;
    if (left >= 3 && !s->by_radius && call_arg_is(c, i, "bybox"))
        return read_box(c, s, i + 1) ? 3 : FAILED;
    return NO_OPTION;
}

static int read_option(struct call *c, const struct form *form, struct search *s, uint32_t i)
{
    uint32_t left = c->argc - i - 1;
    if (read_flag(c, s, i))
        return 0;
    if (left && call_arg_is(c, i, "count"))
        return read_count(c, s, i + 1) ? 1 : FAILED;
    bool store_dist = call_arg_is(c, i, "storedist");
    if (form->stores && store_dist) {
        s->store_dist = true;
        return 0;
    }
    if (form->store_options && left && (store_dist || call_arg_is(c, i, "store"))) {
        s->store_arg = i + 1;
        s->store_dist = store_dist;
        return 1;
    }
    return form->area_options ? read_area_option(c, s, i) : NO_OPTION;
}

/* False, having replied, where options are missing or do not go together. */
static bool check_options(struct call *c, const struct form *form, const struct search *s)
{
    struct slice name = c->argv[0];
    if (s->store_arg && (s->with_dist || s->with_hash || s->with_coord))
        reply_error(&c->reply,
                    "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                    form->stores ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
    else if (form->area_options && !s->from_member && !s->from_point)
        reply_error(&c->reply,
                    "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                    (int)name.size, name.data);
    else if (form->area_options && !s->by_radius && !s->by_box)
        reply_error(&c->reply,
                    "ERR exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                    (int)name.size, name.data);
    else if (s->any && !s->count)
        reply_error(&c->reply, "ERR the ANY argument requires COUNT argument");
    else
        return true;
    return false;
}

/* Reads the args that stand in a fixed place: GEORADIUS's point and radius, GEORADIUSBYMEMBER's
 * member and radius. Leaves the arg at which options begin. Of a key that does not exist Redis does
 * not look at the latter. */
static bool read_fixed(struct call *c, const struct form *form, struct search *s, uint32_t *next)
{
    if (form->area_options) {
        *next = form->stores ? 3 : 2;
        return true;
    }
    *next = form->by_member ? 5 : 6;
    if (!form->by_member)
        return geo_arg_point(c, 2, &s->area.centre) && read_radius(c, s, 4);
    return !s->present || (read_from_member(c, s, 2) && read_radius(c, s, 3));
}

static bool read_search(struct call *c, const struct form *form, struct search *s)
{
    uint32_t i;
    s->store_arg = form->stores ? 1 : 0;
    if (!read_fixed(c, form, s, &i))
        return false;
    for (; i < c->argc; i++) {
        int taken = read_option(c, form, s, i);
        if (taken == NO_OPTION)
            reply_error_syntax(&c->reply);
        if (taken < 0)
            return false;
        i += (uint32_t)taken;
    }
    if (!check_options(c, form, s))
        return false;
    /* The nearest, not just any. */
    if (s->count && s->order == ORDER_FOUND && !s->any)
        s->order = ORDER_ASC;
    return true;
}

/* --- Searching --- */

struct found {
    size_t offset;   /* of the member in the findings' text */
    size_t size;
    struct geo_point at;
    double distance_m;
    double score;
    uint64_t nth;    /* as it was found */
};

struct findings {
    struct buf text;
    struct found *items;
    uint64_t count, cap;
};

static void add_found(struct findings *f, struct slice member, struct found item)
{
    if (f->count == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 16;
        f->items = mem_realloc(f->items, f->cap * sizeof(*f->items));
    }
    item.offset = f->text.size;
    item.size = member.size;
    item.nth = f->count;
    f->items[f->count++] = item;
    buf_append_slice(&f->text, member);
}

static struct slice found_member(const struct findings *f, uint64_t i)
{
    return (struct slice){f->text.data + f->items[i].offset, f->items[i].size};
}

/* False once there are as many as are wanted. */
static bool search_range(const struct search *s, const struct geohash_range *range,
                         struct findings *f)
{
    struct zset_score_range scores = {
        .min = (double)range->first, .max = (double)range->end, .max_open = true};
    uint64_t first, end;
    zset_ranks_of_scores(&s->v, &scores, &first, &end);
    if (first >= end)
        return true;
    struct zset_walk w;
    struct slice member;
    struct found item;
    zset_walk_start(&w, &s->v, first, false);
    for (; first < end && zset_walk_next(&w, &member, &item.score); first++) {
        item.at = geohash_decode_score(item.score);
        if (!geo_area_contains(&s->area, item.at, &item.distance_m))
            continue;
        add_found(f, member, item);
        if (s->any && f->count == s->count)
            return false;
    }
    return true;
}

static int compare_found(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->distance_m != y->distance_m)
        return x->distance_m < y->distance_m ? -1 : 1;
    return x->nth < y->nth ? -1 : x->nth > y->nth;
}

static int compare_found_reversed(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->distance_m != y->distance_m)
        return x->distance_m > y->distance_m ? -1 : 1;
    return x->nth < y->nth ? -1 : x->nth > y->nth;
}

/* Moves the item at `at` down in a heap of `count` whose first is the last in order. */
static void sift_down(struct found *heap, uint64_t count, uint64_t at,
                      int (*compare)(const void *, const void *))
{
    struct found item = heap[at];
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && compare(&heap[child], &heap[child + 1]) < 0)
            child++;
        if (compare(&item, &heap[child]) >= 0)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = item;
}

/* Brings the first `wanted` in order to the front; the rest is given up. */
static void order_found(struct findings *f, uint64_t wanted, enum search_order order)
{
    int (*compare)(const void *, const void *) =
        order == ORDER_ASC ? compare_found : compare_found_reversed;
    if (wanted && wanted < f->count) {
        for (uint64_t i = wanted / 2; i-- > 0;)
            sift_down(f->items, wanted, i, compare);
        for (uint64_t i = wanted; i < f->count; i++) {
            if (compare(&f->items[i], &f->items[0]) >= 0)
                continue;
            f->items[0] = f->items[i];
            sift_down(f->items, wanted, 0, compare);
        }
        f->count = wanted;
    }
    if (f->count)
        qsort(f->items, f->count, sizeof(*f->items), compare);
}

static void search_area(const struct search *s, struct findings *f)
{
    struct geohash_range ranges[GEOHASH_COVER_MAX];
    uint32_t count = geohash_cover(&s->area, ranges);
    for (uint32_t i = 0; i < count; i++)
        if (!search_range(s, &ranges[i], f))
            break;
    if (s->order != ORDER_FOUND)
        order_found(f, s->count, s->order);
}

/* --- Replies --- */

static void reply_found(struct call *c, const struct search *s, const struct findings *f)
{
    struct reply *r = &c->reply;
    unsigned extras = s->with_dist + s->with_hash + s->with_coord;
    reply_array(r, f->count);
    for (uint64_t i = 0; i < f->count; i++) {
        const struct found *item = &f->items[i];
        if (extras)
            reply_array(r, 1 + extras);
        reply_bulk(r, found_member(f, i));
        if (s->with_dist)
            geo_reply_distance(r, item->distance_m / s->unit_m);
        if (s->with_hash)
            reply_integer(r, (int64_t)item->score);
        if (s->with_coord)
            geo_reply_point(r, item->at);
    }
}

static void store_found(struct call *c, const struct search *s, const struct findings *f,
                        const char *event)
{
    struct value v = zset_ops.create(c->keyspace);
    zset_reserve(&v, c->keyspace, f->count);
    for (uint64_t i = 0; i < f->count; i++) {
        const struct found *item = &f->items[i];
        double score = s->store_dist ? item->distance_m / s->unit_m : item->score;
        zset_put(&v, c->keyspace, found_member(f, i), score);
    }
    zset_store(c, s->store_arg, &v, event);
}

static void run_search(struct call *c, const struct form *form)
{
    struct search s = {.order = ORDER_FOUND, .unit_m = 1};
    struct place p;
    if (!db_find_type(c, form->stores ? 2 : 1, DB_READ, TYPE_ZSET, &p))
        return;
    s.present = p.entry;
    if (s.present)
        s.v = db_value(&p, TYPE_ZSET);
    if (!read_search(c, form, &s))
        return;

    struct findings f = {0};
    buf_init(&f.text);
    if (s.present)
        search_area(&s, &f);

    if (s.store_arg)
        store_found(c, &s, &f, form->stores ? "geosearchstore" : "georadiusstore");
    else
        reply_found(c, &s, &f);
    mem_free(f.items);
    buf_deinit(&f.text);
}

static void geosearch_run(struct call *c)
{
    run_search(c, &(struct form){.area_options = true});
}

static void geosearchstore_run(struct call *c)
{
    run_search(c, &(struct form){.area_options = true, .stores = true});
}

static void georadius_run(struct call *c)
{
    run_search(c, &(struct form){.store_options = true});
}

static void georadius_ro_run(struct call *c)
{
    run_search(c, &(struct form){0});
}

static void georadiusbymember_run(struct call *c)
{
    run_search(c, &(struct form){.by_member = true, .store_options = true});
}

static void georadiusbymember_ro_run(struct call *c)
{
    run_search(c, &(struct form){.by_member = true});
}

const struct command geo_search_commands[] = {
    {
        .name = "georadius",
        .run = georadius_run,
        .arity = -6,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_GEO,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_OW | KEY_UPDATE, .begin = 6, .keyword = "STORE",
                 .find = KEY_FIND_RANGE, .last = 0, .step = 1},
                {.flags = KEY_OW | KEY_UPDATE, .begin = 6, .keyword = "STOREDIST",
                 .find = KEY_FIND_RANGE, .last = 0, .step = 1},
            },
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(N+log(M)) where N is the number of elements inside the bounding box of "
                      "the circular area delimited by center and radius and M is the number of "
                      "items inside the index.",
        .syntax = "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
                  "[WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        .summary = "Returns, or keeps under a key, the members within a circle.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
    },
    {
        .name = "georadius_ro",
        .run = georadius_ro_run,
        .arity = -6,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "3.2.10",
        .complexity = "O(N+log(M)) where N is the number of elements inside the bounding box of "
                      "the circular area delimited by center and radius and M is the number of "
                      "items inside the index.",
        .syntax = "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] "
                  "[WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        .summary = "Returns the members within a circle.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`GEOSEARCH` with the `BYRADIUS` argument",
    },
    {
        .name = "georadiusbymember",
        .run = georadiusbymember_run,
        .arity = -5,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_GEO,
        .keys =
            {
                {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_OW | KEY_UPDATE, .begin = 5, .keyword = "STORE",
                 .find = KEY_FIND_RANGE, .last = 0, .step = 1},
                {.flags = KEY_OW | KEY_UPDATE, .begin = 5, .keyword = "STOREDIST",
                 .find = KEY_FIND_RANGE, .last = 0, .step = 1},
            },
        .group = "geo",
        .since = "3.2.0",
        .complexity = "O(N+log(M)) where N is the number of elements inside the bounding box of "
                      "the circular area delimited by center and radius and M is the number of "
                      "items inside the index.",
        .syntax = "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT "
                  "count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        .summary = "Returns, or keeps under a key, the members within a circle around a member.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` "
                       "arguments",
    },
    {
        .name = "georadiusbymember_ro",
        .run = georadiusbymember_ro_run,
        .arity = -5,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "3.2.10",
        .complexity = "O(N+log(M)) where N is the number of elements inside the bounding box of "
                      "the circular area delimited by center and radius and M is the number of "
                      "items inside the index.",
        .syntax = "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT "
                  "count [ANY]] [ASC | DESC]",
        .summary = "Returns the members within a circle around a member.",
        .deprecated_since = "6.2.0",
        .replaced_by = "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
    },
    {
        .name = "geosearch",
        .run = geosearch_run,
        .arity = -7,
        .route = ROUTE_KEY,
        .flags = CMD_READONLY,
        .acl = ACL_GEO,
        .keys = KEYS_ONE(KEY_RO | KEY_ACCESS),
        .group = "geo",
        .since = "6.2.0",
        .complexity = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding "
                      "box area around the shape provided as the filter and M is the number of "
                      "items inside the shape.",
        .syntax = "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | "
                  "KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] "
                  "[COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        .summary = "Returns the members within a circle or a box.",
    },
    {
        .name = "geosearchstore",
        .run = geosearchstore_run,
        .arity = -8,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM,
        .acl = ACL_GEO,
        .keys =
            {
                {.flags = KEY_OW | KEY_UPDATE, .begin = 1, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
                {.flags = KEY_RO | KEY_ACCESS, .begin = 2, .find = KEY_FIND_RANGE, .last = 0,
                 .step = 1},
            },
        .group = "geo",
        .since = "6.2.0",
        .complexity = "O(N+log(M)) where N is the number of elements in the grid-aligned bounding "
                      "box area around the shape provided as the filter and M is the number of "
                      "items inside the shape.",
        .syntax = "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> "
                  "<BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> "
                  "[ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        .summary = "Keeps the members within a circle or a box under another key.",
    },
    {0},
};
