/* Lists against a model (an array of texts), under options of many kinds, and their encodings. */
#include <criterion/criterion.h>

#include "proto/mem.h"
#include "shard/type/list.h"

#define MODEL_MAX 400
#define VALUE_SIZE_MAX 12000

struct model {
    struct slice items[MODEL_MAX]; /* each allocated */
    uint64_t count;
};

/* A list with its options and its model. */
struct rig {
    struct keyspace keyspace;
    struct value list;
    struct model model;
    uint64_t state;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t below(struct rig *r, uint64_t bound)
{
    return next_random(&r->state) % bound;
}

/* Few different values, so that there are equal ones; some of them long, some not compressible. */
static struct slice random_value(struct rig *r)
{
    static char text[VALUE_SIZE_MAX];
    uint64_t kind = below(r, 40);
    if (kind < 12)
        return (struct slice){text, number_format_integer(text, (int64_t)below(r, 20) * 700 - 300)};
    size_t size = kind < 36 ? below(r, 12) : kind < 39 ? 60 + below(r, 60) : below(r, sizeof(text));
    uint64_t state = below(r, 3);
    bool noise = below(r, 2);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(noise ? next_random(&state) : 'a' + state);
    return (struct slice){text, size};
}

static struct slice own(struct slice value)
{
    char *data = mem_alloc(value.size);
    memcpy(data, value.data, value.size);
    return (struct slice){data, value.size};
}

static void model_insert(struct model *m, uint64_t index, struct slice value)
{
    memmove(&m->items[index + 1], &m->items[index], (m->count - index) * sizeof(m->items[0]));
    m->items[index] = own(value);
    m->count++;
}

static void model_delete(struct model *m, uint64_t index, uint64_t count)
{
    for (uint64_t i = index; i < index + count; i++)
        mem_free((char *)m->items[i].data);
    m->count -= count;
    memmove(&m->items[index], &m->items[index + count],
            (m->count - index) * sizeof(m->items[0]));
}

static uint64_t model_remove(struct model *m, struct slice value, uint64_t max, bool backward)
{
    uint64_t removed = 0;
    for (uint64_t i = 0; i < m->count && removed < max; i++) {
        uint64_t index = backward ? m->count - 1 - i : i;
        if (!slice_equal(m->items[index], value))
            continue;
        model_delete(m, index, 1);
        removed++;
        i--;
    }
    return removed;
}

static void compare_walk(const struct rig *r, const struct value *list, uint64_t from,
                         bool backward)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor c;
    uint64_t index = from;
    list_cursor_start(&c, list, from, backward);
    for (; !list_cursor_ended(&c); list_cursor_next(&c)) {
        cr_assert(index < r->model.count);
        cr_assert(slice_equal(list_cursor_text(&c, scratch), r->model.items[index]));
        cr_assert(list_cursor_equal(&c, r->model.items[index]));
        index += backward ? UINT64_MAX : 1;
    }
    cr_assert_eq(index, backward && from < r->model.count ? UINT64_MAX : r->model.count);
    list_cursor_stop(&c);
}

static void compare_all(struct rig *r)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    const struct model *m = &r->model;
    list_check(&r->list);
    cr_assert_eq(list_count(&r->list), m->count);
    cr_assert_eq(value_count(&r->list), m->count);
    compare_walk(r, &r->list, 0, false);
    if (m->count == 0)
        return;
    compare_walk(r, &r->list, below(r, m->count), true);
    cr_assert(slice_equal(list_peek(&r->list, LIST_HEAD, scratch), m->items[0]));
    cr_assert(slice_equal(list_peek(&r->list, LIST_TAIL, scratch), m->items[m->count - 1]));
}

static void push_some(struct rig *r)
{
    struct slice values[3];
    uint32_t count = 1 + (uint32_t)below(r, 3);
    enum list_end end = below(r, 2) ? LIST_HEAD : LIST_TAIL;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = own(random_value(r));
        model_insert(&r->model, end == LIST_HEAD ? 0 : r->model.count, values[i]);
    }
    list_push(&r->list, &r->keyspace.options, end, values, count);
    for (uint32_t i = 0; i < count; i++)
        mem_free((char *)values[i].data);
}

static void insert_one(struct rig *r)
{
    struct slice value = random_value(r);
    uint64_t index = below(r, r->model.count + 1);
    list_insert(&r->list, &r->keyspace.options, index, value);
    model_insert(&r->model, index, value);
}

static void replace_one(struct rig *r)
{
    struct slice value = random_value(r);
    uint64_t index = below(r, r->model.count);
    list_replace(&r->list, &r->keyspace.options, index, value);
    model_delete(&r->model, index, 1);
    model_insert(&r->model, index, value);
}

static void delete_some(struct rig *r)
{
    uint64_t index = below(r, r->model.count), left = r->model.count - index;
    uint64_t count = below(r, below(r, 4) ? 6 : 100);
    if (count > left)
        count = left;
    list_delete(&r->list, &r->keyspace.options, index, count);
    model_delete(&r->model, index, count);
}

static void drop_one(struct rig *r)
{
    bool head = below(r, 2);
    list_drop(&r->list, &r->keyspace.options, head ? LIST_HEAD : LIST_TAIL);
    model_delete(&r->model, head ? 0 : r->model.count - 1, 1);
}

static void rotate(struct rig *r)
{
    struct model *m = &r->model;
    bool head = below(r, 2);
    uint64_t from = head ? 0 : m->count - 1;
    struct slice value = own(m->items[from]);
    list_rotate(&r->list, &r->keyspace.options, head ? LIST_HEAD : LIST_TAIL);
    model_delete(m, from, 1);
    model_insert(m, head ? m->count : 0, value);
    mem_free((char *)value.data);
}

static void remove_equal(struct rig *r)
{
    struct slice value = random_value(r);
    uint64_t max = 1 + below(r, 5);
    bool backward = below(r, 2);
    uint64_t removed = list_remove(&r->list, &r->keyspace.options, value, max, backward);
    cr_assert_eq(removed, model_remove(&r->model, value, max, backward));
}

static void copy_and_free(struct rig *r)
{
    struct value copy = value_ops_of(TYPE_LIST)->copy(&r->list);
    list_check(&copy);
    cr_assert_eq(copy.encoding, r->list.encoding);
    compare_walk(r, &copy, 0, false);
    uint64_t steps = 0, budget = 5;
    while (!value_ops_of(TYPE_LIST)->free_some(&copy, &budget)) {
        cr_assert_eq(budget, 0);
        budget = 5;
        steps++;
    }
    cr_assert_leq(steps, value_ops_of(TYPE_LIST)->parts(&r->list));
}

static void change(struct rig *r, bool grow)
{
    uint64_t choice = below(r, 16), count = r->model.count;
    if (count == 0 || (count + 3 < MODEL_MAX && choice < (grow ? 6 : 2)))
        push_some(r);
    else if (count + 1 < MODEL_MAX && choice < (grow ? 9 : 3))
        insert_one(r);
    else if (choice < 10)
        replace_one(r);
    else if (choice < 12)
        delete_some(r);
    else if (choice < 13)
        drop_one(r);
    else if (choice < 14)
        rotate(r);
    else
        remove_equal(r);
}

static void run_model(struct keyspace_options options, uint64_t seed, int steps)
{
    static struct rig r;
    r = (struct rig){.keyspace.options = options, .state = seed};
    r.list = value_ops_of(TYPE_LIST)->create(&r.keyspace);
    for (int step = 0; step < steps; step++) {
        change(&r, step / 200 % 2 == 0);
        compare_all(&r);
        if (step % 100 == 0)
            copy_and_free(&r);
    }
    model_delete(&r.model, 0, r.model.count);
    value_free(&r.list);
}

Test(list, agrees_with_an_array)
{
    static const int32_t node_sizes[] = {-1, -2, -9, 0, 1, 3, 16, 128};
    for (size_t i = 0; i < sizeof(node_sizes) / sizeof(node_sizes[0]); i++)
        run_model((struct keyspace_options){.list_max_listpack_size = node_sizes[i]}, i, 3000);
}

Test(list, agrees_with_an_array_where_nodes_are_compressed)
{
    for (uint32_t depth = 1; depth <= 5; depth++)
        run_model((struct keyspace_options){.list_max_listpack_size = 5 + (int32_t)depth,
                                            .list_compress_depth = depth},
                  depth, 4000);
    run_model((struct keyspace_options){.list_max_listpack_size = -1, .list_compress_depth = 1}, 7,
              4000);
}

Test(list, agrees_with_an_array_where_many_elements_are_large)
{
    for (uint32_t depth = 0; depth <= 1; depth++)
        run_model((struct keyspace_options){.list_max_listpack_size = 4,
                                            .list_compress_depth = depth,
                                            .list_packed_max = 70},
                  depth, 4000);
}

static const char *encoding(const struct rig *r)
{
    return value_ops_of(TYPE_LIST)->encoding_name(&r->list);
}

static void start(struct rig *r, struct keyspace_options options)
{
    *r = (struct rig){.keyspace.options = options};
    r->list = value_ops_of(TYPE_LIST)->create(&r->keyspace);
}

static void push_number(struct rig *r, int64_t number)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    struct slice value = {text, number_format_integer(text, number)};
    list_push(&r->list, &r->keyspace.options, LIST_TAIL, &value, 1);
}

Test(list, changes_its_encoding_at_the_bound_and_back_at_half_of_it)
{
    static struct rig r;
    start(&r, (struct keyspace_options){.list_max_listpack_size = 8});
    for (int i = 0; i < 8; i++)
        push_number(&r, i);
    cr_assert_str_eq(encoding(&r), "listpack");
    push_number(&r, 8);
    cr_assert_str_eq(encoding(&r), "quicklist");
    for (int i = 9; i > 5; i--) {
        list_drop(&r.list, &r.keyspace.options, LIST_TAIL);
        cr_assert_str_eq(encoding(&r), "quicklist");
    }
    list_drop(&r.list, &r.keyspace.options, LIST_TAIL);
    cr_assert_str_eq(encoding(&r), "listpack");
    cr_assert_eq(list_count(&r.list), 4);
    list_check(&r.list);
    value_free(&r.list);
}

Test(list, compression_saves_memory)
{
    static struct rig plain, compressed;
    start(&plain, (struct keyspace_options){.list_max_listpack_size = -2});
    start(&compressed,
          (struct keyspace_options){.list_max_listpack_size = -2, .list_compress_depth = 1});
    char text[500];
    memset(text, 'x', sizeof(text));
    struct slice value = {text, sizeof(text)};
    for (int i = 0; i < 1000; i++) {
        list_push(&plain.list, &plain.keyspace.options, LIST_TAIL, &value, 1);
        list_push(&compressed.list, &compressed.keyspace.options, LIST_TAIL, &value, 1);
    }
    list_check(&compressed.list);
    cr_assert_gt(value_memory(&plain.list), 500000);
    cr_assert_lt(value_memory(&compressed.list), 50000);
    value_free(&plain.list);
    value_free(&compressed.list);
}

Test(list, neighbours_left_small_are_joined)
{
    static struct rig r;
    start(&r, (struct keyspace_options){.list_max_listpack_size = 10});
    for (int i = 0; i < 1000; i++)
        push_number(&r, i % 10 == 5 ? 5 : 7);
    const struct quicklist *q = r.list.data;
    cr_assert_eq(q->node_count, 100);
    cr_assert_eq(list_remove(&r.list, &r.keyspace.options, SLICE("7"), UINT64_MAX, false), 900);
    list_check(&r.list);
    cr_assert_eq(list_count(&r.list), 100);
    cr_assert_leq(q->node_count, 25);
    value_free(&r.list);
}

Test(list, cursor_outside_of_the_list_sees_nothing)
{
    static struct rig r;
    struct list_cursor c;
    start(&r, (struct keyspace_options){.list_max_listpack_size = 2});
    list_cursor_start(&c, &r.list, 0, false);
    cr_assert(list_cursor_ended(&c));
    for (int i = 0; i < 5; i++)
        push_number(&r, i);
    list_cursor_start(&c, &r.list, 5, true);
    cr_assert(list_cursor_ended(&c));
    list_cursor_start(&c, &r.list, UINT64_MAX, false);
    cr_assert(list_cursor_ended(&c));
    value_free(&r.list);
}
