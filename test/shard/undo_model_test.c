/* Undo at random: several commands (write_model.h) are noted and run; then they are taken back, and
 * everything is as it was; or they stay, and the next ones begin there. */
#include <strings.h>

#include "test/shard/undo_digest.h"
#include "test/shard/write_model.h"

#define ROUNDS 1200

/* Rows without a template: commands that are for tests. */
static const char *const untried[] = {"pfdebug", "restore", "restore-asking"};

static void do_round(struct model *m)
{
    struct undo u;
    undo_init(&u);
    m->world.now_ms += (int64_t)draw(m, 1500);
    uint64_t before = digest_world(&m->world);
    run_some(m, &u);
    if (draw(m, 4)) {
        undo_take_back(&u);
        cr_assert_eq(digest_world(&m->world), before, "%s", m->log);
        m->taken_back++;
    }
    undo_drop(&u);
}

static struct model model;

static void run_model(uint32_t shard_count, uint64_t seed, uint32_t rounds)
{
    struct model *m = &model;
    world_init(&m->world, shard_count);
    m->world.no_touch = true;
    m->state = seed;
    if (seed % 2) {
        m->world.keyspace.options.list_max_listpack_size = 20;
        m->world.keyspace.options.lfu = true;
        m->world.keyspace.options.lazy_server_del = true;
        m->world.keyspace.options.stream_node_max_entries = 10;
    }
    for (uint32_t i = 0; i < rounds; i++) {
        if (i % 250 == 0)
            fill(m);
        do_round(m);
    }
    cr_log_info("%u shards: %lu noted, %lu refused, %lu times taken back", shard_count,
                (unsigned long)m->noted, (unsigned long)m->refused, (unsigned long)m->taken_back);
    cr_expect(m->noted > m->refused * 4);
    world_deinit(&m->world);
}

Test(undo_model, one_shard_is_as_it_was)
{
    run_model(1, 2, ROUNDS);
}

Test(undo_model, several_shards_are_as_they_were)
{
    run_model(3, 3, ROUNDS);
}

static bool is_tried(const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < sizeof(untried) / sizeof(untried[0]); i++)
        if (strcmp(untried[i], name) == 0)
            return true;
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++)
        if (strncasecmp(templates[i], name, size) == 0 && strchr(" ", templates[i][size]))
            return true;
    return false;
}

Test(undo_model, every_row_that_writes_is_tried)
{
    for (const struct command *const *table = world_tables(); *table; table++)
        for (const struct command *row = *table; row->name; row++)
            if (row->flags & CMD_WRITE)
                cr_expect(is_tried(row->name), "%s", row->name);
}
