/* Views of streams: nodes, numbers, groups, consumers and what is pending are those of the moment
 * when the view was opened, whatever is done to the stream meanwhile. */
#include "shard/type/listpack.h"
#include "shard/type/stream_group.h"
#include "view_driver.h"

#define ROUNDS 16
#define VIEWS 4 /* of a stream, one after the other */

/* --- Changes --- */

static struct stream *stream(struct driver *d)
{
    return stream_of(&d->v);
}

/* last_id before the last change of messages, where that added one; else 0-0. */
static struct stream_id before_last;

static void append(struct driver *d)
{
    char texts[4][1200];
    struct slice fields[4];
    uint32_t pairs = 1 + (uint32_t)below(d, 2);
    for (uint32_t i = 0; i < 2 * pairs; i++)
        fields[i] = text_of(below(d, i % 2 ? 300 : 3), texts[i]);
    struct stream_id last = stream(d)->last_id, id = {last.ms + 1 + below(d, 3), below(d, 5)};
    if (!stream_append(stream(d), &d->k, id, fields, pairs))
        cr_assert(false);
    before_last = last;
}

static bool take_back(struct driver *d)
{
    struct stream_id id;
    if (stream_id_is_zero(before_last) || !stream_last_message(stream(d), &id))
        return false;
    stream_take_last(stream(d), before_last);
    before_last = STREAM_ID_MIN;
    return true;
}

static struct stream_id random_id(struct driver *d)
{
    uint64_t last = stream(d)->last_id.ms;
    struct stream_id id = {below(d, 3) ? below(d, last + 1) : last - below(d, 20) % (last + 1), 0};
    struct stream_walk w;
    uint32_t pairs;
    stream_walk_start(&w, stream(d), id, STREAM_ID_MAX, false);
    return stream_walk_next(&w, &id, &pairs) ? id : (struct stream_id){1, 0};
}

static void trim(struct driver *d)
{
    struct stream_trim trim = {.by_id = below(d, 2), .approximate = below(d, 2)};
    trim.max_length = stream(d)->length - below(d, 30) % (stream(d)->length + 1);
    trim.min_id = (struct stream_id){stream(d)->first_id.ms + below(d, 40), 0};
    stream_trim(stream(d), &trim);
}

static void change_messages(struct driver *d, int trend)
{
    uint64_t kind = below(d, 100);
    if (below(d, 6) == 0 && take_back(d))
        return;
    before_last = STREAM_ID_MIN;
    if (kind < (uint64_t)(45 + 40 * trend))
        append(d);
    else if (kind < 90)
        stream_delete(stream(d), random_id(d));
    else if (kind < 95 && trend <= 0)
        trim(d);
    else
        stream(d)->max_deleted_id.seq += 1;
}

static struct slice name_of(struct driver *d, uint64_t bound, char text[1200])
{
    return text_of(below(d, bound), text);
}

static struct stream_group *some_group(struct driver *d)
{
    char text[1200];
    struct slice name = name_of(d, 5, text);
    struct stream_group *g = stream_group_find(stream(d), name);
    if (!g)
        g = stream_group_create(stream(d), name, STREAM_ID_MIN, STREAM_UNKNOWN);
    return g;
}

static struct stream_consumer *some_consumer(struct driver *d, struct stream_group *g)
{
    char text[1200];
    struct slice name = name_of(d, 6, text);
    struct stream_consumer *c = stream_consumer_find(g, name);
    return c ? c : stream_consumer_create(g, name, d->now_ms);
}

/* Changes a message that is pending, or makes one. */
static void change_pending(struct driver *d, struct stream_group *g, int trend)
{
    struct stream_id id = random_id(d);
    struct stream_nack *n = stream_pel_find(&g->pel, id);
    uint64_t kind = below(d, 100);
    if (!n && trend >= 0) {
        stream_pel_deliver(g, some_consumer(d, g), id, d->now_ms++);
        return;
    }
    if (!n)
        n = stream_pel_seek(&g->pel, STREAM_ID_MIN, &id);
    if (!n)
        return;
    if (kind < (uint64_t)(40 - 30 * trend)) {
        stream_pel_ack(g, id);
    } else if (kind < 75) {
        stream_pel_touch(g, n, id);
        n->deliveries += 70;
        n->delivered_ms = d->now_ms++;
    } else if (kind < 90) {
        stream_pel_move(g, n, id, some_consumer(d, g));
    } else {
        stream_pel_deliver(g, some_consumer(d, g), id, d->now_ms++);
    }
}

static void change(struct driver *d, int trend)
{
    if (below(d, 2)) {
        change_messages(d, trend);
        return;
    }
    struct stream_group *g = some_group(d);
    uint64_t kind = below(d, 400);
    if (kind == 0)
        stream_group_destroy(stream(d), g);
    else if (kind < 5)
        stream_consumer_destroy(g, some_consumer(d, g));
    else if (kind < 20)
        stream_group_delivered(stream(d), g, random_id(d));
    else if (kind < 30)
        some_consumer(d, g)->seen_ms++;
    else if (kind < 35)
        stream_forget_id(stream(d), random_id(d));
    else
        change_pending(d, g, trend);
}

/* --- Comparing --- */

static void expect_number(struct input *in, uint64_t expected)
{
    uint64_t n = read_length(in);
    cr_assert(n == expected, "%lu is not %lu", n, expected);
}

static void expect_id(struct input *in, struct stream_id expected)
{
    expect_number(in, expected.ms);
    expect_number(in, expected.seq);
}

static void compare_nodes(struct input *in, const struct stream *s)
{
    expect_number(in, s->nodes.count);
    for (const struct stream_node *n = s->first; n; n = n->next) {
        unsigned char key[STREAM_ID_KEY_SIZE];
        stream_id_write_key(key, n->master);
        expect_string(in, (struct slice){(char *)key, sizeof(key)});
        expect_string(in, (struct slice){(char *)n->listpack, listpack_size(n->listpack)});
    }
}

static struct stream_id read_raw_id(struct input *in)
{
    unsigned char key[STREAM_ID_KEY_SIZE];
    cr_assert(in->end - in->at >= (ptrdiff_t)sizeof(key));
    memcpy(key, in->at, sizeof(key));
    in->at += sizeof(key);
    return stream_id_of_key(key);
}

/* Each that is met is taken out of the copy, so that none is met twice. */
static void compare_groups(struct input *in, struct stream *s)
{
    expect_number(in, s->groups.count);
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));) {
        expect_string(in, stream_group_name(g));
        expect_id(in, g->last_id);
        expect_number(in, (uint64_t)g->entries_read);
        expect_number(in, g->pel.count);
        for (uint64_t left = g->pel.count; left > 0; left--) {
            struct stream_nack *n = stream_pel_find(&g->pel, read_raw_id(in));
            cr_assert(n && read_bytes(in, 8, false) == (uint64_t)n->delivered_ms);
            expect_number(in, n->deliveries);
            n->deliveries = UINT64_MAX;
        }
        expect_number(in, g->consumers.count);
        for (struct stream_consumer *c = NULL; (c = stream_consumer_next(g, c));) {
            expect_string(in, stream_consumer_name(c));
            cr_assert(read_bytes(in, 8, false) == (uint64_t)c->seen_ms);
            expect_number(in, c->pel.count);
            for (uint64_t left = c->pel.count; left > 0; left--) {
                struct stream_id id = read_raw_id(in);
                struct stream_nack *n = stream_pel_find(&c->pel, id);
                cr_assert(n && n->deliveries == UINT64_MAX);
                stream_pel_ack(g, id);
            }
        }
        cr_assert(g->pel.count == 0);
    }
}

static void compare(struct driver *d, const struct value *was, struct slice output)
{
    struct stream *s = stream_of(was);
    struct input in = {(const unsigned char *)output.data,
                       (const unsigned char *)output.data + output.size};
    compare_nodes(&in, s);
    expect_number(&in, s->length);
    expect_id(&in, s->last_id);
    expect_id(&in, s->first_id);
    expect_id(&in, s->max_deleted_id);
    expect_number(&in, s->entries_added);
    compare_groups(&in, s);
    cr_assert(in.at == in.end);
}

static void check(struct driver *d)
{
    stream_check(stream(d));
}

Test(view_stream, is_the_stream_at_its_opening)
{
    static struct driver d = {.change = change, .compare = compare, .check = check};
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        driver_init(&d, round);
        d.k.options.stream_node_max_entries = 1 + (uint32_t)below(&d, 20);
        d.v = stream_ops.create(&d.k);
        before_last = STREAM_ID_MIN;
        for (int i = 0; i < VIEWS; i++) {
            for (uint64_t n = below(&d, 3000); n > 0; n--)
                change(&d, 1);
            append(&d);
            run_unchanged(&d);
            run_view(&d);
        }
        value_free(&d.v);
    }
}
