/* SORT and SORT_RO: the elements of a list, set or sorted set, in the order of their own values or
 * of others that a pattern finds.
 *
 * The elements are copied out of the collection first, and the values to sort by beside them, all
 * in one run of bytes. So nothing is borrowed while patterns look keys up, which may end expired
 * ones, and the result may be stored in the very key that was sorted. Patterns name keys on any
 * shard: the rows say so (CMD_PATTERN_KEYS). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "shard/cmd/told.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"

/* A pattern: the element stands for its first '*'. What follows a "->" behind that is the field of
 * a hash. "#" is the element itself; a pattern without '*' finds nothing. */
struct pattern {
    struct slice prefix, suffix, field;
    bool self, constant;
};

struct options {
    bool descending, alpha;
    bool unsorted;          /* BY a pattern without '*': the collection's own order */
    int64_t offset, count;  /* LIMIT; a negative count: no limit */
    bool by_pattern;
    struct pattern by;
    uint32_t get_count;
    struct pattern *gets;   /* owned; room for one an argument */
    uint32_t store;         /* argument of the key to store in; 0: none */
    locale_t collate;       /* of texts that are not stored; NULL: by bytes */
};

struct item {
    struct slice text;      /* the element; while items are loaded, its offset is `at` */
    uint64_t at;
    uint64_t by_at;         /* likewise */
    union {
        double score;
        struct slice by;    /* with ALPHA and BY; without data: missing, and before all others */
    };
};

/* The elements, and the bytes that they lie in: each text is followed by a NUL. */
struct items {
    struct item *all;
    uint64_t count;
    struct buf bytes;
};

#define NOT_FOUND UINT64_MAX

/* ---- Arguments ---- */

static const char *find_in(struct slice text, size_t from, struct slice what)
{
    return text.size <= from ? NULL
                             : memmem(text.data + from, text.size - from, what.data, what.size);
}

static struct pattern read_pattern(struct slice text)
{
    struct pattern p = {.self = slice_equal(text, SLICE("#"))};
    const char *star = find_in(text, 0, SLICE("*"));
    if (!star) {
        p.constant = true;
        return p;
    }
    const char *end = text.data + text.size, *key_end = end;
    const char *arrow = find_in(text, (size_t)(star - text.data) + 1, SLICE("->"));
    if (arrow && arrow + 2 < end) {
        key_end = arrow;
        p.field = (struct slice){arrow + 2, (size_t)(end - arrow) - 2};
    }
    p.prefix = (struct slice){text.data, (size_t)(star - text.data)};
    p.suffix = (struct slice){star + 1, (size_t)(key_end - star) - 1};
    return p;
}

static void read_by(struct options *o, struct slice text)
{
    struct pattern p = read_pattern(text);
    o->by_pattern = true;
    o->by = p;
    o->unsorted |= p.constant;
}

/* Patterns find keys that nobody has named: only who may read all keys may use them. */
static bool may_look_up(struct call *c, const char *option)
{
    if (!c->keyspace->reads_all_keys || c->keyspace->reads_all_keys(c))
        return true;
    reply_error(&c->reply, "ERR %s option of SORT denied due to insufficient ACL permissions.",
                option);
    return false;
}

/* Reads the option at argument *i, and moves it to the option's last argument. */
static bool read_option(struct call *c, uint32_t *i, struct options *o)
{
    uint32_t at = *i, left = c->argc - at - 1;
    if (call_arg_is(c, at, "asc")) {
        o->descending = false;
    } else if (call_arg_is(c, at, "desc")) {
        o->descending = true;
    } else if (call_arg_is(c, at, "alpha")) {
        o->alpha = true;
    } else if (call_arg_is(c, at, "limit") && left >= 2) {
        *i += 2;
        return call_arg_integer(c, at + 1, &o->offset) && call_arg_integer(c, at + 2, &o->count);
    } else if ((c->command->flags & CMD_WRITE) && call_arg_is(c, at, "store") && left >= 1) {
        o->store = ++*i;
    } else if (call_arg_is(c, at, "by") && left >= 1) {
        read_by(o, c->argv[++*i]);
        return o->by.constant || may_look_up(c, "BY");
    } else if (call_arg_is(c, at, "get") && left >= 1) {
        if (!may_look_up(c, "GET"))
            return false;
        o->gets[o->get_count++] = read_pattern(c->argv[++*i]);
    } else {
        reply_error_syntax(&c->reply);
        return false;
    }
    return true;
}

static bool read_options(struct call *c, struct options *o)
{
    *o = (struct options){.count = -1, .gets = mem_alloc(c->argc * sizeof(*o->gets))};
    for (uint32_t i = 2; i < c->argc; i++)
        if (!read_option(c, &i, o))
            return false;
    return true;
}

/* ---- Patterns ---- */

/* Calls `take` with the value that the pattern finds for an element; false where there is none. */
static bool find_by_pattern(struct call *c, const struct pattern *p, struct slice element,
                            void (*take)(void *context, struct slice value), void *context)
{
    if (p->self) {
        take(context, element);
        return true;
    }
    if (p->constant)
        return false;
    char few[256];
    struct buf name;
    buf_init_borrowed(&name, few, sizeof(few));
    buf_append_slice(&name, p->prefix);
    buf_append_slice(&name, element);
    buf_append_slice(&name, p->suffix);

    struct place place = db_find_key(c, buf_slice(&name), c->db, DB_READ);
    bool found = place.entry &&
                 entry_type(place.entry) == (p->field.size ? TYPE_HASH : TYPE_STRING);
    if (found && p->field.size) {
        struct value v = db_value(&place, TYPE_HASH);
        struct hash_pair pair;
        found = hash_get(&v, c->keyspace, p->field, call_due_ms(c), &pair);
        if (found)
            take(context, pair.value);
    } else if (found) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        take(context, db_string(&place, scratch));
    }
    buf_deinit(&name);
    return found;
}

/* ---- Loading ---- */

static uint64_t add_bytes(struct items *items, struct slice text)
{
    uint64_t at = items->bytes.size;
    buf_append_slice(&items->bytes, text);
    buf_append(&items->bytes, "", 1);
    return at;
}

static void add_item(struct items *items, struct slice text)
{
    items->all[items->count++] = (struct item){
        .text.size = text.size, .at = add_bytes(items, text), .by_at = NOT_FOUND,
    };
}

/* Elements from `first` on, at most `max`, in the collection's order or backward. */
static void load_list(struct items *items, const struct value *v, uint64_t first, uint64_t max,
                      bool backward)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor at;
    list_cursor_start(&at, v, backward ? list_count(v) - 1 - first : first, backward);
    for (; max > 0 && !list_cursor_ended(&at); max--, list_cursor_next(&at))
        add_item(items, list_cursor_text(&at, scratch));
    list_cursor_stop(&at);
}

static void load_zset(struct items *items, const struct value *v, uint64_t first, uint64_t max,
                      bool backward)
{
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, v, first, backward);
    for (; max > 0 && zset_walk_next(&w, &member, &score); max--)
        add_item(items, member);
}

/* Sets have no order: what is to be left out of an unsorted one is left out at the end. */
static void load_set(struct items *items, const struct value *v, uint64_t first, uint64_t max)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    for (uint64_t i = 0; i - first < max || i < first; i++) {
        if (!set_walk_next(&w, &m))
            return;
        if (i >= first)
            add_item(items, set_member_text(&m, scratch));
    }
}

/* A run of the result. */
struct run {
    uint64_t first, count;
};

static struct run limit_run(const struct options *o, uint64_t count)
{
    uint64_t first = o->offset < 0 ? 0 : (uint64_t)o->offset;
    if (first >= count)
        return (struct run){0, 0};
    uint64_t left = count - first;
    bool limited = o->count >= 0 && (uint64_t)o->count < left;
    return (struct run){first, limited ? (uint64_t)o->count : left};
}

/* Copies the elements out: all, or where they are not to be sorted those that the limit leaves. */
static void load_items(struct items *items, const struct place *p, const struct options *o,
                       struct run run)
{
    enum entry_type_id type = entry_type(p->entry);
    struct value v = db_value(p, type);
    if (!o->unsorted)
        run = (struct run){0, value_count(&v)};
    bool backward = o->unsorted && o->descending;
    items->all = mem_alloc((run.count ? run.count : 1) * sizeof(*items->all));
    if (run.count == 0)
        return;
    if (type == TYPE_LIST)
        load_list(items, &v, run.first, run.count, backward);
    else if (type == TYPE_ZSET)
        load_zset(items, &v, run.first, run.count, backward);
    else
        load_set(items, &v, run.first, run.count);
}

/* What find_by_pattern found is kept beside the elements. */
struct taking {
    struct items *items;
    uint64_t at;
    size_t size;
};

static void take_bytes(void *context, struct slice value)
{
    struct taking *t = context;
    t->size = value.size;
    t->at = add_bytes(t->items, value);
}

static void load_by(struct call *c, struct items *items, const struct pattern *by)
{
    for (uint64_t i = 0; i < items->count; i++) {
        struct item *item = &items->all[i];
        /* Good until the value is added, which may move the bytes. */
        struct slice element = {items->bytes.data + item->at, item->text.size};
        struct taking t = {.items = items, .at = NOT_FOUND};
        find_by_pattern(c, by, element, take_bytes, &t);
        item->by_at = t.at;
        item->by.size = t.size;
    }
}

/* A number as C reads it, blanks before it included. False where it is none, or none that a double
 * holds. An empty text is 0. */
static bool read_score(const char *text, size_t size, double *score)
{
    int64_t integer;
    if (number_parse_integer((struct slice){text, size}, &integer)) {
        *score = (double)integer;
        return true;
    }
    char *end;
    errno = 0;
    *score = strtod(text, &end);
    return *end == '\0' && errno != ERANGE && !isnan(*score);
}

/* Turns offsets into slices, and texts into scores, once the bytes no longer move. False where one
 * is no number. */
static bool settle_items(struct items *items, const struct options *o)
{
    const char *bytes = items->bytes.data;
    bool numbers = true;
    for (uint64_t i = 0; i < items->count; i++) {
        struct item *item = &items->all[i];
        item->text.data = bytes + item->at;
        bool found = item->by_at != NOT_FOUND;
        if (o->unsorted)
            continue;
        if (o->alpha) {
            item->by.data = found ? bytes + item->by_at : NULL;
        } else if (o->by_pattern) {
            size_t size = item->by.size;
            item->score = 0;
            if (found)
                numbers &= read_score(bytes + item->by_at, size, &item->score);
        } else {
            numbers &= read_score(item->text.data, item->text.size, &item->score);
        }
    }
    return numbers;
}

/* ---- Sorting ---- */

static int compare_bytes(struct slice a, struct slice b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* By a locale, what follows a NUL is nothing, as with Redis: a NUL follows each text. */
static int compare_texts(const struct options *o, struct slice a, struct slice b)
{
    return o->collate ? strcoll_l(a.data, b.data, o->collate) : compare_bytes(a, b);
}

static int compare_by(const struct options *o, struct slice a, struct slice b)
{
    if (!a.data || !b.data)
        return (a.data != NULL) - (b.data != NULL);
    return compare_texts(o, a, b);
}

static int compare_scores(const struct item *a, const struct item *b)
{
    int order = (a->score > b->score) - (a->score < b->score);
    return order ? order : compare_bytes(a->text, b->text);
}

/* What still is equal stays in the order that it was in, descending or not. */
static int compare_items(const void *left, const void *right, void *context)
{
    const struct item *a = left, *b = right;
    const struct options *o = context;
    int order;
    if (!o->alpha)
        order = compare_scores(a, b);
    else if (o->by_pattern)
        order = compare_by(o, a->by, b->by);
    else
        order = compare_texts(o, a->text, b->text);
    if (order)
        return o->descending ? -order : order;
    return (a->at > b->at) - (a->at < b->at);
}

/* ---- The result ---- */

static void take_reply(void *context, struct slice value)
{
    reply_bulk(context, value);
}

static void reply_items(struct call *c, const struct items *items, const struct options *o,
                        struct run run)
{
    reply_array(&c->reply, run.count * (o->get_count ? o->get_count : 1));
    for (uint64_t i = run.first; i < run.first + run.count; i++) {
        struct slice element = items->all[i].text;
        if (!o->get_count)
            reply_bulk(&c->reply, element);
        for (uint32_t g = 0; g < o->get_count; g++)
            if (!find_by_pattern(c, &o->gets[g], element, take_reply, &c->reply))
                reply_null(&c->reply);
    }
}

/* A list in the making. */
struct storing {
    struct value list;
    const struct keyspace_options *options;
};

static void take_element(void *context, struct slice value)
{
    struct storing *s = context;
    list_push(&s->list, s->options, LIST_TAIL, &value, 1);
}

/* By what it came to, not by its own words: elements that compare alike keep the order that they
 * had in the collection, and a set has none. */
static void tell_stored(struct call *c, const struct place *to, const struct value *list)
{
    if (!journal_is_on(c))
        return;
    if (to->entry)
        told_gone(c, to);
    struct told_list elements;
    told_list_start(&elements, c, to, SLICE("RPUSH"), value_count(list));
    if (value_count(list) == 0)
        return;
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor at;
    list_cursor_start(&at, list, 0, false);
    for (; !list_cursor_ended(&at); list_cursor_next(&at))
        told_list_add(&elements, list_cursor_text(&at, scratch));
    list_cursor_stop(&at);
}

static void store_items(struct call *c, const struct items *items, const struct options *o,
                        struct run run)
{
    struct storing s = {list_ops.create(c->keyspace), &c->keyspace->options};
    for (uint64_t i = run.first; i < run.first + run.count; i++) {
        struct slice element = items->all[i].text;
        if (!o->get_count)
            take_element(&s, element);
        for (uint32_t g = 0; g < o->get_count; g++)
            if (!find_by_pattern(c, &o->gets[g], element, take_element, &s))
                take_element(&s, SLICE(""));
    }
    uint64_t count = value_count(&s.list);
    struct place to = db_find(c, o->store, DB_WRITE);
    bool changed = count || to.entry;
    if (changed)
        tell_stored(c, &to, &s.list);
    if (count) {
        db_put_value(&to, s.list, DB_NO_EXPIRY);
    } else {
        value_free(&s.list);
        if (to.entry)
            db_delete(&to);
    }
    if (changed)
        db_changed(c, &to);
    if (count)
        db_notify(&to, NOTIFY_LIST, "sortstore");
    else if (changed)
        db_notify(&to, NOTIFY_GENERIC, "del");

    reply_integer(&c->reply, (int64_t)count);
}

/* Sorts what there is and replies. */
static void sort_place(struct call *c, const struct place *p, const struct options *o)
{
    struct items items = {.count = 0};
    buf_init(&items.bytes);
    uint64_t count = 0;
    if (p->entry) {
        struct value v = db_value(p, entry_type(p->entry));
        count = value_count(&v);
    }
    struct run run = limit_run(o, count);
    if (p->entry)
        load_items(&items, p, o, run);
    if (o->unsorted)
        run.first = 0;
    else if (o->by_pattern)
        load_by(c, &items, &o->by);

    if (!settle_items(&items, o)) {
        reply_error(&c->reply, "ERR One or more scores can't be converted into double");
    } else {
        if (!o->unsorted && items.count > 1)
            qsort_r(items.all, items.count, sizeof(*items.all), compare_items, (void *)o);
        if (o->store)
            store_items(c, &items, o, run);
        else
            reply_items(c, &items, o, run);
    }
    mem_free(items.all);
    buf_deinit(&items.bytes);
}

static bool is_sortable(const struct place *p)
{
    unsigned type = p->entry ? entry_type(p->entry) : TYPE_LIST;
    return type == TYPE_LIST || type == TYPE_SET || type == TYPE_ZSET;
}

static void sort_run(struct call *c)
{
    struct options o;
    if (!read_options(c, &o)) {
        mem_free(o.gets);
        return;
    }

    struct place p = db_find(c, 1, DB_READ);
    if (!is_sortable(&p)) {
        reply_error_wrong_type(&c->reply);
    } else {
        /* What is stored, or a script goes by, shall not depend on how a set happens to lie. */
        bool matters = o.store || c->in_script;
        o.collate = o.store ? NULL : c->keyspace->options.collate;
        if (o.unsorted && matters && p.entry && entry_type(p.entry) == TYPE_SET) {
            o.unsorted = o.by_pattern = false;
            o.alpha = true;
        }
        sort_place(c, &p, &o);
    }
    mem_free(o.gets);
}

#define COMPLEXITY                                                                               \
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the "     \
    "number of returned elements. When the elements are not sorted, complexity is O(N)."
#define KEYS_SORTED                                                                              \
    {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .find = KEY_FIND_RANGE, .step = 1},               \
    {.flags = KEY_RO | KEY_ACCESS, .find = KEY_FIND_UNKNOWN,                                     \
     .notes = "For the optional BY/GET keyword. It is marked 'unknown' because the key names "   \
              "derive from the content of the key we sort"}

const struct command sort_commands[] = {
    {
        .name = "sort",
        .run = sort_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_PATTERN_KEYS,
        .acl = ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
        .keys = {KEYS_SORTED,
                 {.flags = KEY_OW | KEY_UPDATE, .find = KEY_FIND_UNKNOWN,
                  .notes = "For the optional STORE keyword. It is marked 'unknown' because the "
                           "keyword can appear anywhere in the argument array"}},
        .group = "generic",
        .since = "1.0.0",
        .complexity = COMPLEXITY,
        .syntax = "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] "
                  "[ASC | DESC] [ALPHA] [STORE destination]",
        .summary = "Sorts the elements of a list, a set or a sorted set, and may store them.",
    },
    {
        .name = "sort_ro",
        .run = sort_run,
        .arity = -2,
        .route = ROUTE_CROSS,
        .flags = CMD_READONLY | CMD_PATTERN_KEYS,
        .acl = ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
        .keys = {KEYS_SORTED},
        .group = "generic",
        .since = "7.0.0",
        .complexity = COMPLEXITY,
        .syntax = "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] "
                  "[ASC | DESC] [ALPHA]",
        .summary = "Sorts the elements of a list, a set or a sorted set.",
    },
    {0},
};
