#include <criterion/criterion.h>

#include "shard/journal.h"
#include "test/shard/cmd_driver.h"
#include "test/shard/undo_digest.h"

/* --- Reading a journal --- */

/* Closes what is open and takes all, shard after shard: one command was run. */
static void take(struct world *w, struct buf *out)
{
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++) {
        struct shard *s = &w->shards[i];
        struct buf one;
        if (!journal_has_open(s))
            continue;
        buf_init(&one);
        journal_close_unit(s, 0, false, 0);
        journal_take(s, &one);
        buf_append_slice(out, buf_slice(&one));
        buf_deinit(&one);
    }
}

/* A number after its mark, up to the end of the line. */
static size_t read_count(const char **at, char mark)
{
    char *end;
    cr_assert_eq(**at, mark);
    size_t count = strtoul(*at + 1, &end, 10);
    cr_assert_eq(memcmp(end, "\r\n", 2), 0);
    *at = end + 2;
    return count;
}

/* Longer than the driver's lines: lists are told whole. */
#define WORDS_MAX 2048

struct command_read {
    uint32_t db;
    bool by_time;
    uint32_t argc;
    struct slice argv[WORDS_MAX];
};

/* Calls `visit` for each command of closed units. */
static void each_command(struct slice units, void (*visit)(void *context, struct command_read *r),
                         void *context)
{
    static struct command_read r;
    const char *at = units.data, *end = units.data + units.size;
    while (at < end) {
        struct journal_unit unit;
        memcpy(&unit, at, sizeof(unit));
        at += sizeof(unit);
        const char *unit_end = at + unit.size;
        for (uint32_t i = 0; i < unit.commands; i++) {
            struct journal_command head;
            memcpy(&head, at, sizeof(head));
            at += sizeof(head);
            const char *command_end = at + head.size;
            r.db = head.db;
            r.by_time = head.by_time;
            r.argc = (uint32_t)read_count(&at, '*');
            cr_assert_leq(r.argc, WORDS_MAX);
            for (uint32_t j = 0; j < r.argc; j++) {
                size_t size = read_count(&at, '$');
                r.argv[j] = (struct slice){at, size};
                at += size + 2;
            }
            cr_assert_eq(at, command_end);
            visit(context, &r);
        }
        cr_assert_eq(at, unit_end);
    }
}

static void write_line(void *context, struct command_read *r)
{
    struct buf *out = context;
    if (out->size)
        buf_append_text(out, " | ");
    for (uint32_t i = 0; i < r->argc; i++) {
        buf_append_text(out, i ? " " : "");
        buf_append_slice(out, r->argv[i]);
    }
}

/* What the journal of the last command says, as text; to be freed. */
static char *told_text(struct world *w)
{
    struct buf units, text;
    buf_init(&units);
    buf_init(&text);
    take(w, &units);
    each_command(buf_slice(&units), write_line, &text);
    buf_append(&text, "", 1);
    buf_deinit(&units);
    return text.data;
}

static void replay_command(void *context, struct command_read *r)
{
    struct world *w = context;
    w->db = r->db;
    const char *reply = world_run_args(w, r->argv, r->argc);
    struct buf line;
    buf_init(&line);
    write_line(&line, r);
    cr_assert_neq(reply[0], '-', "%.*s: %s", (int)line.size, line.data, reply);
    buf_deinit(&line);
}

/* --- Units --- */

static void append_word(struct shard *s, const char *word)
{
    struct slice argv = slice_of(word);
    journal_append(s, 0, &argv, 1);
}

Test(journal, a_script_that_is_taken_back_leaves_what_was_before_it_and_what_time_has_done)
{
    struct world w;
    world_init(&w, 1);
    struct shard *s = w.pointers[0];
    size_t empty = journal_mark(s);
    append_word(s, "a");
    journal_cut_back(s, empty);
    cr_expect(!journal_has_open(s));
    cr_expect_eq(journal_mark(s), empty);

    append_word(s, "before");
    size_t mark = journal_mark(s);
    append_word(s, "b");
    journal_removed(s, 3, SLICE("x"), true);
    append_word(s, "c");
    journal_removed(s, 0, SLICE("y"), true);
    journal_cut_back(s, mark);
    char *text = told_text(&w);
    cr_expect_str_eq(text, "before | UNLINK x | UNLINK y");
    mem_free(text);

    journal_cut_back(s, journal_mark(s));
    mark = journal_mark(s);
    journal_removed(s, 0, SLICE("z"), true);
    append_word(s, "d");
    journal_cut_back(s, mark);
    text = told_text(&w);
    cr_expect_str_eq(text, "UNLINK z");
    mem_free(text);
    world_deinit(&w);
}

Test(journal, units_are_taken_in_the_order_in_which_they_were_closed)
{
    struct world w;
    world_init(&w, 1);
    struct shard *s = w.pointers[0];
    append_word(s, "a");
    append_word(s, "b");
    journal_close_unit(s, 7, false, 100);
    append_word(s, "c");
    journal_close_unit(s, 9, true, 101);
    struct buf out;
    buf_init(&out);
    journal_take(s, &out);
    struct journal_unit first, second;
    memcpy(&first, out.data, sizeof(first));
    memcpy(&second, out.data + sizeof(first) + first.size, sizeof(second));
    cr_expect(first.cursor == 7 && first.commands == 2 && !first.in_order && first.stamp == 100);
    cr_expect(second.cursor == 9 && second.commands == 1 && second.in_order == 1);
    cr_expect_eq(2 * sizeof(first) + first.size + second.size, out.size);
    append_word(s, "d");
    journal_close_unit(s, 10, false, 102);
    journal_take(s, &out);
    cr_expect_gt(out.size, 2 * sizeof(first) + first.size + second.size);
    buf_deinit(&out);
    world_deinit(&w);
}

Test(journal, a_command_on_several_shards_is_one_unit_of_the_first)
{
    struct world w;
    world_init(&w, 3);
    cr_expect(!journal_gather(w.pointers, 3)); /* nobody journals */
    w.keyspace.options.journal = true;
    struct shard *some[3] = {NULL, w.pointers[1], w.pointers[2]};
    cr_expect(journal_gather(some, 3));
    cr_expect(!journal_gather(w.pointers, 3)); /* it does already */
    append_word(w.pointers[2], "a");
    append_word(w.pointers[1], "b");
    append_word(w.pointers[2], "c");
    journal_gather_end(some, 3);
    append_word(w.pointers[2], "d");
    cr_expect(!journal_has_open(w.pointers[0]));
    char *text = told_text(&w);
    cr_expect_str_eq(text, "a | b | c | d");
    mem_free(text);
    world_deinit(&w);
}

Test(journal, parts_have_the_keys_of_their_shard_alone_and_whole_databases_are_the_firsts)
{
    struct world w;
    world_init(&w, 2);
    w.keyspace.options.journal = true;
    /* By their slots the first two are of the first shard. */
    cr_assert(keyspace_shard(&w.keyspace, SLICE("b")) == 0 &&
              keyspace_shard(&w.keyspace, SLICE("c")) == 0 &&
              keyspace_shard(&w.keyspace, SLICE("a")) == 1);
    world_run(&w, "MSET a 1 b 2 c 3");
    char *text = told_text(&w);
    cr_expect_str_eq(text, "MSET b 2 c 3 | MSET a 1");
    mem_free(text);
    world_run(&w, "DEL x c a");
    text = told_text(&w);
    cr_expect(strstr(text, "DEL a") || strstr(text, "x a"), "%s", text);
    mem_free(text);
    world_run(&w, "FLUSHALL");
    text = told_text(&w);
    cr_expect_str_eq(text, "FLUSHALL");
    mem_free(text);
    world_deinit(&w);
}

/* --- What each command tells --- */

struct journal_case {
    const char *before; /* commands, '|' between them; not looked at */
    const char *command;
    const char *told;
};

static const struct journal_case cases[] = {
#include "test/shard/journal_cases.h"
};

#define CASE_COUNT (sizeof(cases) / sizeof(cases[0]))

static void run_lines(struct world *w, const char *lines)
{
    while (*lines) {
        char line[512];
        size_t size = strcspn(lines, "|");
        cr_assert_lt(size, sizeof(line));
        memcpy(line, lines, size);
        line[size] = '\0';
        const char *reply = world_run(w, line);
        cr_expect_neq(reply[0], '-', "%s: %s", line, reply);
        lines += size + (lines[size] == '|');
    }
}

Test(journal, commands_tell_what_does_the_same_of_the_same_data)
{
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const struct journal_case *k = &cases[i];
        struct world w;
        world_init(&w, 1);
        w.keyspace.options.journal = true;
        run_lines(&w, k->before);
        mem_free(told_text(&w));
        world_run(&w, k->command);
        char *text = told_text(&w);
        cr_expect_str_eq(text, k->told, "%s: \"%s\" for \"%s\"", k->command, text, k->told);
        mem_free(text);
        world_deinit(&w);
    }
}

Test(journal, restore_tells_the_payload_and_when_the_key_ends)
{
    struct world w;
    world_init(&w, 1);
    w.keyspace.options.journal = true;
    world_run(&w, "RPUSH k a b");
    const char *reply = world_run(&w, "DUMP k");
    mem_free(told_text(&w));
    size_t size = read_count(&reply, '$');
    char payload[64];
    cr_assert_leq(size, sizeof(payload));
    memcpy(payload, reply, size);

    struct slice argv[] = {SLICE("RESTORE"), SLICE("d"), SLICE("10"), {payload, size}};
    struct buf units, line;
    buf_init(&units);
    buf_init(&line);
    cr_assert_str_eq(world_run_args(&w, argv, 4), "+OK\r\n");
    take(&w, &units);
    each_command(buf_slice(&units), write_line, &line);
    const char *head = "RESTORE d 1700000000010 ", *tail = " REPLACE ABSTTL";
    cr_assert_eq(line.size, strlen(head) + size + strlen(tail));
    cr_expect_eq(memcmp(line.data, head, strlen(head)), 0);
    cr_expect_eq(memcmp(line.data + strlen(head), payload, size), 0);
    cr_expect_eq(memcmp(line.data + strlen(head) + size, tail, strlen(tail)), 0);

    struct world loaded;
    world_init(&loaded, 1);
    loaded.keyspace.options.loading = true;
    loaded.now_ms = w.now_ms + 100;
    each_command(buf_slice(&units), replay_command, &loaded);
    cr_expect_str_eq(world_run(&loaded, "PEXPIRETIME d"), ":1700000000010\r\n");
    cr_expect_str_eq(world_run(&loaded, "LRANGE d 0 -1"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    buf_deinit(&units);
    buf_deinit(&line);
    world_deinit(&w);
    world_deinit(&loaded);
}

static void count_words(void *context, struct command_read *r)
{
    uint32_t *counts = context;
    counts[0]++;
    counts[1] += r->argc;
    if (r->argc > counts[2])
        counts[2] = r->argc;
}

Test(journal, what_is_long_is_told_in_several_commands)
{
    struct world w, loaded;
    struct buf units;
    world_init(&w, 1);
    world_init(&loaded, 1);
    w.no_clocks = loaded.no_clocks = true;
    for (uint32_t i = 0; i < 3000; i++) {
        char line[32];
        snprintf(line, sizeof(line), "SADD k m%u", i);
        world_run(&w, line);
        world_run(&loaded, line);
    }
    w.keyspace.options.journal = true;
    buf_init(&units);
    world_run(&w, "SPOP k 2500");
    world_run(&w, "SORT k ALPHA STORE l");
    take(&w, &units);
    uint32_t counts[3] = {0};
    each_command(buf_slice(&units), count_words, counts);
    cr_expect_eq(counts[0], 4);
    cr_expect_eq(counts[1], 3 * 2 + 2500 + 2 + 500);
    cr_expect_lt(counts[2], 1100);
    each_command(buf_slice(&units), replay_command, &loaded);
    cr_expect_eq(digest_world(&w), digest_world(&loaded));
    buf_deinit(&units);
    world_deinit(&w);
    world_deinit(&loaded);
}

/* RESTORE, whose payload is no text, has a test of its own. */
static bool has_case(const struct command *row, const char *parent)
{
    if (strncmp(row->name, "restore", 7) == 0)
        return true;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const char *word = cases[i].command;
        size_t size = strcspn(word, " ");
        if (parent) {
            if (!slice_is((struct slice){word, size}, parent))
                continue;
            word += size + 1;
            size = strcspn(word, " ");
        }
        if (slice_is((struct slice){word, size}, row->name) && *cases[i].told)
            return true;
    }
    return false;
}

Test(journal, no_command_that_writes_is_without_a_case)
{
    for (const struct command *const *tables = world_tables(); *tables; tables++) {
        for (const struct command *row = *tables; row->name; row++) {
            const struct command *sub = row->subcommands;
            for (; sub && sub->name; sub++)
                if (sub->flags & CMD_WRITE)
                    cr_expect(has_case(sub, row->name), "%s %s", row->name, sub->name);
            if (!row->subcommands && (row->flags & (CMD_WRITE | CMD_MAY_REPLICATE)))
                cr_expect(has_case(row, NULL), "%s", row->name);
        }
    }
}

/* --- Random runs --- */

/* Letters behind a % stand for something random: see fill. */
static const char *const templates[] = {
#include "test/shard/journal_templates.h"
};

struct chance {
    uint64_t state;
    uint32_t step;
    int64_t now_ms;
};

static uint32_t below(struct chance *r, uint32_t bound)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((r->state >> 33) % bound);
}

static void fill_one(struct chance *r, char letter, struct buf *line)
{
    static const char *const texts[] = {"a", "b", "7", "-3", "2.5", "some-longer-text-of-a-value-"
                                        "that-does-not-fit-into-the-head-of-an-entry-at-all"};
    switch (letter) {
    case 'k': /* keys: some of each kind, seldom another's */
        buf_printf(line, "k%u", below(r, 12));
        break;
    case 's': case 'l': case 'h': case 'S': case 'z': case 'x': case 'p': case 'g':
        if (below(r, 40))
            buf_printf(line, "%c%u", letter, below(r, 3));
        else
            buf_printf(line, "k%u", below(r, 12));
        break;
    case 'v':
        buf_append_text(line, texts[below(r, 6)]);
        break;
    case 'm': /* members and fields */
        buf_printf(line, "m%u", below(r, 9));
        break;
    case 'n':
        buf_printf(line, "%d", (int)below(r, 12) - 3);
        break;
    case 'c':
        buf_printf(line, "%u", 1 + below(r, 4));
        break;
    case 'f':
        buf_printf(line, "%d.%u", (int)below(r, 9) - 4, below(r, 100));
        break;
    case 't': /* ms from now */
        buf_printf(line, "%u", 1 + below(r, 120));
        break;
    case 'T': /* a time, perhaps past */
        buf_printf(line, "%lld", (long long)r->now_ms - 20 + below(r, 140));
        break;
    case 'j': /* ids of messages: a new one, ... */
        buf_printf(line, "%u-1", r->step);
        break;
    case 'i': /* ... or not long ago */
        buf_printf(line, "%u-1", r->step - below(r, r->step < 60 ? r->step : 60));
        break;
    case 'G':
        buf_printf(line, "g%u", below(r, 2));
        break;
    case 'C':
        buf_printf(line, "c%u", below(r, 3));
        break;
    case 'd':
        buf_printf(line, "%u", below(r, 3));
        break;
    case 'o':
        buf_printf(line, "%u", below(r, 70));
        break;
    default:
        cr_assert_fail("%c", letter);
    }
}

static void fill(struct chance *r, const char *template, struct buf *line)
{
    line->size = 0;
    for (; *template; template++) {
        if (*template == '%')
            fill_one(r, *++template, line);
        else
            buf_append(line, template, 1);
    }
    buf_append(line, "", 1);
}

static void sweep(struct world *w)
{
    for (uint32_t i = 0; i < w->keyspace.shard_count; i++) {
        uint64_t visited;
        w->shards[i].now_ms = w->now_ms;
        shard_sweep(&w->shards[i], 64, &visited);
    }
}

static void compare_worlds(struct world *live, struct world *loaded, const char *line)
{
    int64_t now_ms = loaded->now_ms;
    loaded->now_ms = live->now_ms;
    loaded->keyspace.options.loading = false;
    live->no_clocks = loaded->no_clocks = true;
    cr_assert_eq(digest_world(live), digest_world(loaded), "after %s", line);
    loaded->keyspace.options.loading = true;
    loaded->now_ms = now_ms;
}

static void run_random(uint64_t seed, uint32_t shards, uint32_t loaded_shards, uint32_t steps)
{
    struct chance r = {.state = seed};
    struct world live, loaded;
    struct buf line, units;
    world_init(&live, shards);
    world_init(&loaded, loaded_shards);
    live.keyspace.options.journal = true;
    loaded.keyspace.options.loading = true;
    loaded.now_ms += seed % 2 ? 1000000 : -1000000; /* whenever it is loaded */
    live.keyspace.options.stream_node_max_entries = 3;
    live.keyspace.options.hash_max_listpack_entries = 4;
    buf_init(&line);
    for (uint32_t i = 0; i < steps; i++) {
        buf_init(&units);
        live.db = below(&r, 8) ? 0 : below(&r, 3);
        live.now_ms += below(&r, 8);
        r.step = i + 1;
        r.now_ms = live.now_ms;
        fill(&r, templates[below(&r, sizeof(templates) / sizeof(templates[0]))], &line);
        uint32_t besides = below(&r, 600);
        if (besides < 2)
            world_run(&live, besides ? "FLUSHDB" : "FLUSHALL");
        else if (besides < 12)
            sweep(&live);
        else
            world_run(&live, line.data);
        take(&live, &units);
        each_command(buf_slice(&units), replay_command, &loaded);
        buf_deinit(&units);
        if (steps < 3000 || i % 16 == 0)
            compare_worlds(&live, &loaded, line.data);
    }
    compare_worlds(&live, &loaded, "all");
    buf_deinit(&line);
    world_deinit(&live);
    world_deinit(&loaded);
}

Test(journal, what_is_loaded_is_what_there_was)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        run_random(seed, seed % 2 ? 1 : 3, seed < 3 ? 1 : 2, 1500);
}

/* For many seeds by hand: JOURNAL_SEEDS=first-last. */
Test(journal, what_is_loaded_is_what_there_was_with_other_seeds)
{
    const char *seeds = getenv("JOURNAL_SEEDS");
    unsigned long first, last;
    if (!seeds || sscanf(seeds, "%lu-%lu", &first, &last) != 2)
        return;
    for (; first <= last; first++)
        run_random(first, first % 3 ? 3 : 1, 1 + first % 2, 20000);
}
