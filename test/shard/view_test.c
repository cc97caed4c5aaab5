/* Views of sets, hashes, sorted sets and lists: what they write is the collection as it was when
 * they were opened, whatever is done to it meanwhile. */
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"
#include "view_driver.h"

#define ROUNDS 16
#define VIEWS 4 /* of a collection, one after the other */

/* --- Elements in any order --- */

struct lines {
    struct slice *lines;
    size_t count, cap;
};

/* An element as one text: its parts with their sizes. */
static void add_line(struct lines *l, struct slice a, struct slice b, int64_t expires_ms)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->lines = mem_realloc(l->lines, l->cap * sizeof(*l->lines));
    }
    struct buf line = {0};
    buf_printf(&line, "%zu %zu %ld ", a.size, b.size, (long)expires_ms);
    buf_append_slice(&line, a);
    buf_append_slice(&line, b);
    l->lines[l->count++] = buf_slice(&line);
}

static int compare_lines(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    size_t size = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->data, y->data, size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static void expect_same(struct lines *got, struct lines *expected)
{
    cr_assert(got->count == expected->count, "%zu of %zu", got->count, expected->count);
    for (int i = 0; i < 2; i++) {
        struct lines *l = i ? expected : got;
        if (l->count)
            qsort(l->lines, l->count, sizeof(*l->lines), compare_lines);
    }
    for (size_t i = 0; i < got->count; i++) {
        cr_assert(compare_lines(&got->lines[i], &expected->lines[i]) == 0);
        mem_free((void *)got->lines[i].data);
        mem_free((void *)expected->lines[i].data);
    }
    mem_free(got->lines);
    mem_free(expected->lines);
}

static void expect_end(const struct input *in)
{
    cr_assert(in->at == in->end, "%ld bytes more", (long)(in->end - in->at));
}

static struct input input_of(struct slice s)
{
    return (struct input){(const unsigned char *)s.data, (const unsigned char *)s.data + s.size};
}

/* Which element a change is of: some are changed again and again. */
static uint64_t pick(struct driver *d)
{
    return below(d, 3) ? below(d, 600) : below(d, 12) * 50;
}

/* --- Sets --- */

static void change_set(struct driver *d, int trend)
{
    char text[1200];
    struct slice member = text_of(pick(d), text);
    uint64_t kind = below(d, 100);
    if (trend < 0 && kind < 3)
        for (struct set_member m; set_count(&d->v) > 0 && below(d, 50);) {
            set_random(&d->v, &(struct value_random){next_random, &d->state}, &m);
            set_remove_at(&d->v, &d->k, &m);
        }
    else if (kind < (uint64_t)(50 + trend * 35))
        set_add(&d->v, &d->k, member);
    else
        set_remove(&d->v, &d->k, member);
}

static void compare_set(struct driver *d, const struct value *was, struct slice output)
{
    struct lines got = {0}, expected = {0};
    struct input in = input_of(output);
    for (uint64_t left = read_length(&in); left > 0; left--) {
        struct slice member = read_string(&in);
        add_line(&got, member, SLICE(""), 0);
        mem_free((void *)member.data);
    }
    expect_end(&in);
    struct set_walk walk;
    struct set_member m;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    set_walk_start(&walk, was);
    while (set_walk_next(&walk, &m))
        add_line(&expected, set_member_text(&m, scratch), SLICE(""), 0);
    expect_same(&got, &expected);
}

static void check_set(struct driver *d)
{
    set_check(&d->v, &d->k);
}

/* --- Hashes --- */

static int64_t random_expiry(struct driver *d)
{
    return below(d, 2) ? HASH_NO_EXPIRY : d->now_ms + (int64_t)below(d, 200);
}

static void change_hash(struct driver *d, int trend)
{
    char field_text[1200], value_text[1200];
    struct slice field = text_of(pick(d), field_text);
    struct slice value = text_of(below(d, 10000), value_text);
    uint64_t kind = below(d, 100);
    bool expiring = d->k.options.hash_max_listpack_value % 2;
    d->now_ms += below(d, 20) == 0;
    if (kind < (uint64_t)(40 + trend * 30))
        hash_set(&d->v, &d->k, field, value, HASH_NO_EXPIRY, d->now_ms);
    else if (kind < 75)
        hash_remove(&d->v, &d->k, field, d->now_ms);
    else if (kind < 78)
        hash_ops.remove_due(&d->v, d->now_ms, 1 + below(d, 100), NULL);
    else if (kind < 80)
        hash_set(&d->v, &d->k, field, value, HASH_KEEP_EXPIRY, d->now_ms);
    else if (expiring && kind < 90)
        hash_set(&d->v, &d->k, field, value, random_expiry(d), d->now_ms);
    else if (expiring)
        hash_set_expiry(&d->v, &d->k, field, random_expiry(d), d->now_ms);
}

static void add_pair(void *context, const struct hash_pair *pair)
{
    add_line(context, pair->field, pair->value,
             pair->expires_ms == HASH_NO_EXPIRY ? 0 : pair->expires_ms);
}

static void compare_hash(struct driver *d, const struct value *was, struct slice output)
{
    struct lines got = {0}, expected = {0};
    struct input in = input_of(output);
    bool expiring = hash_ops.next_due_ms(was) != HASH_NO_EXPIRY;
    int64_t due_ms = expiring ? (int64_t)read_bytes(&in, 8, false) : 0;
    for (uint64_t left = read_length(&in); left > 0; left--) {
        int64_t expires_ms = expiring ? (int64_t)read_length(&in) : 0;
        struct slice field = read_string(&in), value = read_string(&in);
        add_line(&got, field, value, expires_ms ? expires_ms + due_ms - 1 : 0);
        mem_free((void *)field.data);
        mem_free((void *)value.data);
    }
    expect_end(&in);
    hash_each(was, INT64_MIN, add_pair, &expected);
    expect_same(&got, &expected);
}

static void check_hash(struct driver *d)
{
    hash_check(&d->v, &d->k);
}

/* --- Sorted sets --- */

static void change_zset(struct driver *d, int trend)
{
    char text[1200];
    struct slice member = text_of(pick(d), text);
    uint64_t kind = below(d, 100);
    double score = (double)below(d, 1000) / 8;
    if (kind < (uint64_t)(40 + trend * 30)) {
        zset_put(&d->v, &d->k, member, score);
    } else if (kind < 60) {
        zset_change(&d->v, &d->k, member, ZSET_INCREMENT | ZSET_ONLY_PRESENT, &score);
    } else if (kind < 96 || trend > 0) {
        zset_remove(&d->v, &d->k, member);
    } else {
        uint64_t first = below(d, zset_count(&d->v) + 1);
        zset_remove_ranks(&d->v, &d->k, first, first + below(d, 100));
    }
}

static void compare_zset(struct driver *d, const struct value *was, struct slice output)
{
    struct lines got = {0}, expected = {0};
    struct input in = input_of(output);
    for (uint64_t left = read_length(&in); left > 0; left--) {
        struct slice member = read_string(&in);
        uint64_t score = read_bytes(&in, 8, false);
        add_line(&got, member, (struct slice){(char *)&score, 8}, 0);
        mem_free((void *)member.data);
    }
    expect_end(&in);
    struct zset_walk walk;
    struct slice member;
    double score;
    zset_walk_start(&walk, was, 0, false);
    while (zset_walk_next(&walk, &member, &score))
        add_line(&expected, member, (struct slice){(char *)&score, 8}, 0);
    expect_same(&got, &expected);
}

static void check_zset(struct driver *d)
{
    zset_check(&d->v, &d->k);
}

/* --- Lists --- */

static void remove_some(struct driver *d, uint64_t count)
{
    struct keyspace_options *o = &d->k.options;
    uint64_t index = below(d, count);
    if (below(d, 6))
        list_drop(&d->v, o, below(d, 2) ? LIST_HEAD : LIST_TAIL);
    else
        list_delete(&d->v, o, index,
                    1 + below(d, below(d, 4) ? 5 : count - index) % (count - index));
}

static void change_list(struct driver *d, int trend)
{
    struct keyspace_options *o = &d->k.options;
    char text[1200];
    struct slice value = text_of(below(d, 400), text);
    uint64_t count = list_count(&d->v), kind = below(d, 100);
    if (count == 0 || kind < (uint64_t)(30 + trend * 20))
        list_push(&d->v, o, below(d, 2) ? LIST_HEAD : LIST_TAIL, &value, 1);
    else if (kind < 60)
        remove_some(d, count);
    else if (kind < 75)
        list_replace(&d->v, o, below(d, count), value);
    else if (kind < 90)
        list_insert(&d->v, o, below(d, count + 1), value);
    else if (kind < 95)
        list_rotate(&d->v, o, below(d, 2) ? LIST_HEAD : LIST_TAIL);
    else
        list_remove(&d->v, o, value, 1 + below(d, 4), below(d, 2));
}

static void compare_list(struct driver *d, const struct value *was, struct slice output)
{
    const struct quicklist *q = was->data;
    struct input in = input_of(output);
    cr_assert(read_length(&in) == q->node_count);
    for (const struct quicklist_node *n = q->first; n; n = n->next) {
        cr_assert(read_length(&in) == (n->plain ? 1 : 2));
        unsigned char *scratch;
        const char *bytes = (const char *)quicklist_view(n, &scratch);
        expect_string(&in, (struct slice){bytes, n->size});
        mem_free(scratch);
    }
    expect_end(&in);
}

static void check_list(struct driver *d)
{
    list_check(&d->v);
}

/* --- Rounds --- */

static bool is_packed(const struct value *v)
{
    return v->encoding == ENC_LISTPACK || v->encoding == ENC_LISTPACK_EX ||
           v->encoding == ENC_INTSET;
}

static void set_options(struct driver *d)
{
    struct keyspace_options *o = &d->k.options;
    static const int32_t list_sizes[] = {1, 3, 20, -1};
    o->set_max_listpack_entries = o->hash_max_listpack_entries = 1;
    o->zset_max_listpack_entries = o->set_max_intset_entries = 1;
    o->hash_max_listpack_value = 64 + (uint32_t)below(d, 2);
    o->list_max_listpack_size = list_sizes[below(d, 4)];
    o->list_compress_depth = (uint32_t)below(d, 3);
    o->list_packed_max = below(d, 2) ? 200 : 0;
}

static void run_rounds(struct driver *d, enum entry_type_id type)
{
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        driver_init(d, round);
        set_options(d);
        d->v = value_ops_of(type)->create(&d->k);
        for (int i = 0; i < VIEWS; i++) {
            for (uint64_t n = below(d, 3000); n > 0 || is_packed(&d->v); n -= n > 0)
                d->change(d, 1);
            run_unchanged(d);
            run_view(d);
        }
        value_free(&d->v);
    }
}

Test(view, of_a_set_is_the_set_at_its_opening)
{
    static struct driver d = {.change = change_set, .compare = compare_set, .check = check_set};
    run_rounds(&d, TYPE_SET);
}

Test(view, of_a_hash_is_the_hash_at_its_opening)
{
    static struct driver d = {.change = change_hash, .compare = compare_hash, .check = check_hash};
    run_rounds(&d, TYPE_HASH);
}

Test(view, of_a_sorted_set_is_the_set_at_its_opening)
{
    static struct driver d = {.change = change_zset, .compare = compare_zset, .check = check_zset};
    run_rounds(&d, TYPE_ZSET);
}

Test(view, of_a_list_is_the_list_at_its_opening)
{
    static struct driver d = {.change = change_list, .compare = compare_list, .check = check_list};
    run_rounds(&d, TYPE_LIST);
}

/* A list whose last node is small enough to be the whole of it. */
static void make_list(struct driver *d)
{
    driver_init(d, 1);
    d->k.options.list_max_listpack_size = 20;
    d->v = list_ops.create(&d->k);
    for (uint64_t i = 0; i < 45; i++) {
        char text[1200];
        struct slice value = text_of(i, text);
        list_push(&d->v, &d->k.options, LIST_TAIL, &value, 1);
    }
}

Test(view, of_a_list_outlives_its_encoding)
{
    static struct driver d;
    make_list(&d);
    struct value was = list_ops.copy(&d.v), owned;
    struct view *w = view_open(&d.v, true);
    list_delete(&d.v, &d.k.options, 0, 40);
    cr_assert(is_packed(&d.v) && !view_of(&d.v));
    value_free(&d.v);

    struct buf out = {0};
    while (!view_write(w, &out, 100))
        continue;
    compare_list(&d, &was, buf_slice(&out));
    cr_assert(!view_close(w, &owned));
    buf_deinit(&out);
    value_free(&was);
}

Test(view, is_needed_by_what_is_large_and_not_packed)
{
    static struct driver d;
    make_list(&d);
    cr_assert(!view_is_needed(&d.v));
    for (uint64_t i = 0; i < 300; i++) {
        char text[1200];
        struct slice value = text_of(1130, text);
        list_push(&d.v, &d.k.options, LIST_TAIL, &value, 1);
    }
    cr_assert(view_is_needed(&d.v));
    value_free(&d.v);

    d.v = set_ops.create(&d.k);
    for (uint64_t i = 0; set_count(&d.v) < 2000; i++) {
        char text[1200];
        cr_assert(!view_is_needed(&d.v));
        set_add(&d.v, &d.k, text_of(i * 4, text));
        if (view_is_needed(&d.v))
            break;
    }
    cr_assert(set_count(&d.v) > 513 && set_count(&d.v) < 2000);
    value_free(&d.v);
}
