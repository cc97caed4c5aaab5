/* Compaction at random moments between commands of all families, with snapshots beside: every key
 * stays what it was. Under a sanitizer each block is an allocation of its own and every block that
 * may be moved is, so whoever has kept a pointer is found out. */
#include "proto/mem.h"
#include "shard/compact.h"
#include "shard/garbage.h"
#include "shard/snapshot.h"
#include "test/shard/undo_digest.h"
#include "test/shard/write_model.h"

#define ROUNDS 250

static struct model model;
static struct mem_move moving;
static struct mem_map thin;

/* As server/compact.c does it, but for the clock: a pass goes on where it stood, and waits for the
 * end of a snapshot. */
static bool step(struct shard *s, uint64_t buckets)
{
    if (snapshot_active(s))
        return false;
    if (!s->compaction.on)
        compact_start(s, &moving);
    mem_move_begin(&moving);
    compact_step(s, buckets);
    mem_move_pause(&moving);
    heap_check(&s->heap);
    return true;
}

static void step_snapshot(struct model *m, struct shard *s)
{
    struct snapshot_options options = {.compress = true};
    struct snapshot_piece piece;
    struct buf out;
    buf_init(&out);
    if (!snapshot_active(s)) {
        if (draw(m, 8) == 0)
            snapshot_begin(s, &options);
    } else if (draw(m, 40) == 0) {
        snapshot_abandon(s);
    } else {
        snapshot_step(s, 1 + draw(m, 20000));
    }
    if (snapshot_take_output(s, &out, &piece))
        buf_deinit(&out);
}

static uint64_t compact(struct model *m)
{
    uint64_t stepped = 0, before = digest_world(&m->world);
    for (uint32_t i = 0; i < m->world.keyspace.shard_count; i++)
        stepped += step(&m->world.shards[i], 1 + draw(m, 60));
    cr_assert_eq(digest_world(&m->world), before, "%s", m->log);
    return stepped;
}

static void run_model(uint32_t shard_count, uint64_t seed)
{
    struct model *m = &model;
    uint64_t stepped = 0;
    world_init(&m->world, shard_count);
    m->world.no_touch = true;
    m->state = seed;
    mem_move_look(&moving);
    mem_move_start(&moving, &thin, 1, 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct undo u;
        if (i % 250 == 0)
            fill(m);
        undo_init(&u);
        m->world.now_ms += (int64_t)draw(m, 1500);
        stepped += compact(m);
        run_some(m, &u);
        if (draw(m, 4) == 0)
            undo_take_back(&u);
        undo_drop(&u);
        for (uint32_t k = 0; k < shard_count; k++) {
            step_snapshot(m, &m->world.shards[k]);
            garbage_collect(&m->world.shards[k], draw(m, 200));
        }
    }
    cr_expect(stepped > ROUNDS / 4);
    mem_move_end(&moving);
    mem_map_end(&thin);
    world_deinit(&m->world);
}

Test(compact_model, one_shard_keeps_all_that_it_has)
{
    run_model(1, 2);
}

Test(compact_model, several_shards_keep_all_that_they_have)
{
    run_model(3, 3);
}
