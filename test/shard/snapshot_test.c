/* Snapshots while commands go on: what comes out is what was there at the cut, each key once. */
#include "test/shard/snapshot_model.h"
#include "test/shard/write_model.h"

#define ROUNDS 1350

struct saving {
    struct model *m;
    bool active;
    bool abandoned;
    bool compress;
    struct records should, is;
    uint32_t whole_count, abandoned_count;
};

static struct model model;

/* --- Pieces --- */

/* Records of which pieces have come, each of one shard. */
struct open_record {
    uint64_t number; /* 0: none */
    struct buf bytes;
};

static struct open_record open_records[4];
static uint64_t streamed_count;

static struct open_record *find_open(uint64_t number)
{
    for (size_t i = 0; i < 4; i++)
        if (open_records[i].number == number)
            return &open_records[i];
    return NULL;
}

/* Puts together what goes on. */
static void add_piece(struct records *is, struct snapshot_piece at, struct slice bytes)
{
    struct open_record *r = find_open(at.record);
    cr_assert(r || at.goes_on, "a record ends that has not begun");
    r = r ? r : find_open(0);
    cr_assert(r);
    r->number = at.record;
    buf_append_slice(&r->bytes, bytes);
    if (at.goes_on)
        return;
    records_parse(is, buf_slice(&r->bytes), UINT32_MAX);
    buf_deinit(&r->bytes);
    r->number = 0;
    streamed_count++;
}

static void forget_pieces(void)
{
    for (size_t i = 0; i < 4; i++) {
        buf_deinit(&open_records[i].bytes);
        open_records[i].number = 0;
    }
}

/* Takes one piece. False where there is none. */
static bool take_piece(struct records *is, struct shard *shard)
{
    struct snapshot_piece at;
    struct buf out = {0};
    bool any = snapshot_take_output(shard, &out, &at);
    cr_assert(any || out.size == 0);
    if (at.record)
        add_piece(is, at, buf_slice(&out));
    else
        records_parse(is, buf_slice(&out), UINT32_MAX);
    buf_deinit(&out);
    return any;
}

static uint32_t shard_count_of(const struct saving *s)
{
    return s->m->world.keyspace.shard_count;
}

static void begin(struct saving *s)
{
    struct snapshot_options o = {.compress = s->compress, .clocks = draw(s->m, 2)};
    o.whole_max = draw(s->m, 2) ? 1 + draw(s->m, 3000) : 0;
    for (uint32_t i = 0; i < shard_count_of(s); i++) {
        struct shard *shard = &s->m->world.shards[i];
        records_capture(&s->should, shard, o.compress);
        snapshot_begin(shard, &o);
        cr_assert(snapshot_active(shard));
    }
    s->active = true;
    s->abandoned = false;
}

static void take(struct saving *s, struct shard *shard)
{
    while (take_piece(&s->is, shard))
        cr_assert_not(s->abandoned);
    cr_assert_eq(snapshot_output_size(shard), 0);
}

static void end(struct saving *s)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < shard_count_of(s); i++) {
        struct snapshot_counts counts;
        take(s, &s->m->world.shards[i]);
        snapshot_count(&s->m->world.shards[i], &counts);
        cr_assert_eq(counts.memory, 0);
        total += counts.keys_written;
    }
    if (!s->abandoned) {
        records_equal(&s->is, &s->should);
        cr_assert_eq(total, s->should.count);
        s->whole_count++;
    }
    forget_pieces();
    records_clear(&s->is);
    records_clear(&s->should);
    s->active = false;
}

static void step(struct saving *s)
{
    bool active = false;
    for (uint32_t i = 0; i < shard_count_of(s); i++) {
        struct shard *shard = &s->m->world.shards[i];
        if (draw(s->m, 3) == 0)
            snapshot_step(shard, 1 + draw(s->m, 20000));
        if (draw(s->m, 3) == 0)
            take(s, shard);
        active |= snapshot_active(shard);
    }
    if (!active)
        end(s);
}

static void abandon(struct saving *s)
{
    for (uint32_t i = 0; i < shard_count_of(s); i++)
        snapshot_abandon(&s->m->world.shards[i]);
    s->abandoned = true;
    s->abandoned_count++;
}

/* What a core does beside commands. */
static void tend(struct model *m, struct shard *shard)
{
    uint64_t visited;
    shard->now_ms = m->world.now_ms;
    if (draw(m, 2))
        shard_sweep(shard, 16, &visited);
    if (draw(m, 2))
        garbage_collect(shard, draw(m, 300));
    if (draw(m, 2))
        db_random(shard, (uint32_t)draw(m, 3));
}

static void run_script(struct model *m)
{
    struct undo u;
    undo_init(&u);
    run_some(m, &u);
    if (draw(m, 3) == 0)
        undo_take_back(&u);
    undo_drop(&u);
}

static void run_commands(struct model *m)
{
    static struct request r;
    for (uint64_t n = draw(m, COMMANDS_MAX); n > 0; n--) {
        make_any(m, &r);
        if (!slice_is(r.argv[0], "FLUSHALL") && !slice_is(r.argv[0], "FLUSHDB"))
            world_run_args(&m->world, r.argv, r.argc);
    }
}

static void run_whole(struct model *m)
{
    static const char *const lines[] = {
        "SWAPDB 0 1", "SWAPDB 0 1", "SWAPDB 1 2", "SWAPDB 0 2", "SWAPDB 1 1", "FLUSHDB",
        "FLUSHDB ASYNC", "FLUSHALL",
    };
    m->world.db = (uint32_t)draw(m, 3);
    if (draw(m, 10) == 0)
        world_run(&m->world, lines[draw(m, sizeof(lines) / sizeof(lines[0]))]);
}

static void do_round(struct saving *s)
{
    struct model *m = s->m;
    m->world.now_ms += (int64_t)draw(m, 1500);
    if (draw(m, 2))
        run_script(m);
    else
        run_commands(m);
    run_whole(m);
    for (uint32_t i = 0; i < shard_count_of(s); i++)
        tend(m, &m->world.shards[i]);
    if (!s->active && draw(m, 5) == 0)
        begin(s);
    if (s->active && !s->abandoned && draw(m, 60) == 0)
        abandon(s);
    if (s->active)
        step(s);
}

/* Large enough for views: thousands of elements or more than 64 KiB. */
static void fill_huge(struct model *m)
{
    static const struct {
        const char *front, *element;
    } kinds[] = {
        {"SADD e1", " member-of-some-length-%u"},
        {"HSET h1", " member-of-some-length-%u value-of-some-length-%u"},
        {"HSETEX h2 EX 1000 FIELDS 20", " member-of-some-length-%u value-of-some-length-%u"},
        {"RPUSH l1", " member-of-some-length-%u-%0100u"},
        {"ZADD z1", " %2$u.5 member-of-some-length-%1$u"},
        {"XADD x1 *", " field-of-some-length-%u value-of-some-length-%u"},
    };
    static char line[8192];
    m->world.db = 0;
    world_run(&m->world, "DEL h2");
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (unsigned i = 0; i < 1200;) {
            char *to = stpcpy(line, kinds[kind].front);
            for (unsigned end = i + 20; i < end; i++)
                to += sprintf(to, kinds[kind].element, i, i % 77);
            world_run(&m->world, line);
            cr_assert_neq(m->world.out.data[0], '-', "%s", m->world.out.data);
        }
    }
    world_run(&m->world, "XREADGROUP GROUP group0 consumer0 COUNT 300 STREAMS x1 >");
}

static void run_model(uint32_t shard_count, uint64_t seed)
{
    struct saving s = {.m = &model, .compress = seed % 3 == 0};
    model.state = seed;
    world_init(&model.world, shard_count);
    if (seed % 2) {
        model.world.keyspace.options.list_max_listpack_size = 20;
        model.world.keyspace.options.list_compress_depth = 1;
        model.world.keyspace.options.lfu = true;
        model.world.keyspace.options.lazy_server_del = true;
        model.world.keyspace.options.lazy_user_flush = true;
        model.world.keyspace.options.stream_node_max_entries = 10;
    }
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (i % 60 == 0) {
            fill(&model);
            fill_huge(&model);
        }
        do_round(&s);
    }
    cr_expect(s.whole_count > 4, "%u", s.whole_count);
    cr_expect(s.abandoned_count > 0, "%u", s.abandoned_count);
    cr_expect(streamed_count > 10, "%u", (unsigned)streamed_count);
    records_clear(&s.is);
    records_clear(&s.should);
    world_deinit(&model.world);
}

Test(snapshot, of_one_shard_holds_what_was_there_at_the_cut)
{
    run_model(1, 2);
}

Test(snapshot, of_several_shards_holds_what_was_there_at_the_cut)
{
    run_model(3, 5);
}

Test(snapshot, that_is_compressed_holds_what_was_there_at_the_cut)
{
    run_model(2, 9);
}

/* --- Views that change shards --- */

/* Two keys of different shards. */
static void choose_keys(struct world *w, char from[8], char to[8])
{
    unsigned i = 0;
    strcpy(from, "k");
    do
        snprintf(to, 8, "k%u", i++);
    while (keyspace_shard(&w->keyspace, (struct slice){to, strlen(to)}) ==
           keyspace_shard(&w->keyspace, (struct slice){from, 1}));
}

struct moving {
    struct world w;
    struct shard *from, *to;
    struct records should, is;
    char from_key[8], to_key[8];
    char line[200];
};

/* A huge list, a snapshot of it, and a change that opens its view. */
static void begin_moving(struct moving *m, size_t whole_max)
{
    world_init(&m->w, 2);
    choose_keys(&m->w, m->from_key, m->to_key);
    m->from = &m->w.shards[keyspace_shard(&m->w.keyspace, (struct slice){m->from_key, 1})];
    m->to = m->from == &m->w.shards[0] ? &m->w.shards[1] : &m->w.shards[0];
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(m->line, sizeof(m->line), "RPUSH %s %0100u", m->from_key, i);
        world_run(&m->w, m->line);
    }
    for (uint32_t i = 0; i < 2; i++) {
        records_capture(&m->should, &m->w.shards[i], false);
        snapshot_begin(&m->w.shards[i], &(struct snapshot_options){.whole_max = whole_max});
    }
    snprintf(m->line, sizeof(m->line), "LSET %s 7 changed", m->from_key);
    world_run(&m->w, m->line);
    cr_assert_eq(snapshot_output_size(m->from), 0);
}

static void rename_moving(struct moving *m)
{
    snprintf(m->line, sizeof(m->line), "RENAME %s %s", m->from_key, m->to_key);
    world_run(&m->w, m->line);
}

static void take_moving(struct moving *m, struct shard *s)
{
    while (take_piece(&m->is, s))
        continue;
}

static void end_moving(struct moving *m)
{
    records_equal(&m->is, &m->should);
    records_clear(&m->is);
    records_clear(&m->should);
    world_deinit(&m->w);
}

Test(snapshot, a_view_goes_with_its_collection_to_another_shard)
{
    static struct moving m;
    begin_moving(&m, 0);
    snapshot_step(m.from, 1000);
    rename_moving(&m);
    while (snapshot_step(m.from, 1000))
        continue;
    take_moving(&m, m.from);
    cr_assert_eq(m.is.count, 0);
    snprintf(m.line, sizeof(m.line), "DEL %s", m.to_key);
    world_run(&m.w, m.line);
    while (snapshot_step(m.to, 1000))
        continue;
    take_moving(&m, m.to);
    end_moving(&m);
}

Test(snapshot, a_view_is_ended_where_its_collection_goes_to_a_shard_that_has_done_its_part)
{
    static struct moving m;
    begin_moving(&m, 0);
    while (snapshot_step(m.to, 1000))
        continue;
    rename_moving(&m);
    take_moving(&m, m.from);
    cr_assert_eq(m.is.count, 1);
    cr_assert(snapshot_step(m.from, 1));
    cr_assert_not(snapshot_step(m.from, 1000));
    end_moving(&m);
}

Test(snapshot, a_record_of_which_pieces_were_taken_goes_on_from_another_shard)
{
    static struct moving m;
    begin_moving(&m, 100);
    snapshot_step(m.from, 20000);
    take_moving(&m, m.from);
    uint64_t number = snapshot_open_record(m.from);
    cr_assert_neq(number, 0);
    rename_moving(&m);
    cr_assert_eq(snapshot_open_record(m.from), 0);
    cr_assert_eq(snapshot_open_record(m.to), number);
    while (snapshot_step(m.from, 1000))
        continue;
    while (snapshot_step(m.to, 1000))
        take_moving(&m, m.to);
    take_moving(&m, m.to);
    cr_assert_eq(streamed_count, 1);
    end_moving(&m);
}

Test(snapshot, a_huge_record_is_never_held_as_a_whole)
{
    static struct moving m;
    begin_moving(&m, 100);
    snapshot_step(m.from, 20000);
    take_moving(&m, m.from);
    cr_assert_neq(snapshot_open_record(m.from), 0);
    for (unsigned i = 0; i < 20 && snapshot_open_record(m.from); i++) {
        struct snapshot_counts counts;
        snapshot_step(m.from, 20000);
        take_moving(&m, m.from);
        snapshot_count(m.from, &counts);
        cr_assert_lt(counts.memory, 50000);
    }
    while (snapshot_step(m.from, 1000) || snapshot_step(m.to, 1000))
        continue;
    take_moving(&m, m.from);
    take_moving(&m, m.to);
    cr_assert_eq(streamed_count, 1);
    end_moving(&m);
}

/* --- What is held --- */

static struct snapshot_counts counts_of(const struct shard *s)
{
    struct snapshot_counts counts;
    snapshot_count(s, &counts);
    return counts;
}

Test(snapshot, what_is_flushed_is_held_until_it_is_written)
{
    struct world w;
    world_init(&w, 1);
    for (unsigned i = 0; i < 1000; i++) {
        char line[40];
        snprintf(line, sizeof(line), "SET key:%u value:%u", i, i);
        world_run(&w, line);
    }
    size_t used = w.shards[0].heap.used_bytes;
    snapshot_begin(&w.shards[0], &(struct snapshot_options){0});
    world_run(&w, "FLUSHALL");
    cr_assert_eq(db_key_count(&w.shards[0], 0), 0);
    cr_assert_geq(counts_of(&w.shards[0]).memory, used);
    cr_assert_eq(w.shards[0].heap.used_bytes, used);
    while (snapshot_step(&w.shards[0], 1000))
        continue;
    garbage_collect(&w.shards[0], UINT64_MAX);
    cr_assert_eq(w.shards[0].heap.used_bytes, 0);
    struct snapshot_counts counts = counts_of(&w.shards[0]);
    cr_assert_eq(counts.keys_written, 1000);
    cr_assert_eq(counts.preserved, 0);
    cr_assert_eq(counts.memory, snapshot_output_size(&w.shards[0]));
    world_deinit(&w);
}
