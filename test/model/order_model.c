/* Checks the protocol of the order log in the model of protocol.h.
 *
 * Random schedules of random setups, then every schedule of small setups (a depth-first search that
 * knows states again), then the protocol broken in each way that protocol.h names, where violations
 * must be found. A schedule is in violation when
 *   - it ends with operations that never complete: a core sleeps that has work (a wake-up was
 *     lost), or cores stand still (a deadlock), or go round for ever;
 *   - a ticket was taken whose entry was not free yet;
 *   - its history is not strictly serializable: there is no total order of the operations that
 *     keeps the order of those that did not overlap, and of each connection's, and explains every
 *     value read.
 * Prints counts; the exit status is 1 where something is not as it must be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "proto/mem.h"
#include "test/model/protocol.h"

#define SCHEDULES 60000
#define BROKEN_SCHEDULES_MAX 1000000
#define STEPS_MAX 20000
#define SEARCH_SECONDS 10
#define SEARCH_STATES_MAX (6u << 20)

enum verdict { FINE, LOST_WAKE_UP, DEADLOCK, ENDLESS, NO_ROOM, NOT_SERIALIZABLE, VERDICT_COUNT };

static const char *const verdict_names[VERDICT_COUNT] = {
    "none", "lost wake-up", "deadlock", "endless", "entry reused too early", "not serializable"};

/* The checker. */

/* Tries to place the operations that are not in `placed` yet behind those that are. */
static bool explain(const struct state *s, const struct setup *u, uint16_t placed,
                    const uint8_t *values)
{
    if (placed == (1u << u->op_count) - 1)
        return true;
    for (uint32_t i = 0; i < u->op_count; i++) {
        if (placed >> i & 1 || (s->ops[i].before & ~placed))
            continue;
        uint8_t after[KEYS_MAX], result[KEYS_MAX] = {0};
        memcpy(after, values, sizeof(after));
        protocol_apply(u, i, UINT8_MAX, after, result);
        if (memcmp(result, s->ops[i].result, sizeof(result)) == 0 &&
            explain(s, u, (uint16_t)(placed | 1u << i), after))
            return true;
    }
    return false;
}

/* Of a state in which nobody can make a step. */
static enum verdict judge(const struct state *s, const struct setup *u)
{
    if (s->room_broken)
        return NO_ROOM;
    if (s->complete != (1u << u->op_count) - 1)
        return protocol_overslept(s, u) ? LOST_WAKE_UP : DEADLOCK;
    static const uint8_t zero[KEYS_MAX];
    return explain(s, u, 0, zero) ? FINE : NOT_SERIALIZABLE;
}

/* Random schedules. */

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 32) % below);
}

static void draw_op(struct setup *u, struct op *op, uint64_t *seed)
{
    op->client = (uint8_t)draw(seed, u->client_count);
    op->effect = (uint8_t)draw(seed, 3);
    op->cross = draw(seed, 2);
    op->owners = draw(seed, 4) == 0;
    if (draw(seed, 2))
        op->keys = (uint8_t)(1u << draw(seed, u->key_count));
    else
        op->keys = (uint8_t)(1 + draw(seed, (1u << u->key_count) - 1));
}

static void draw_setup(struct setup *u, uint64_t *seed)
{
    u->core_count = 2 + draw(seed, CORES_MAX - 1);
    u->client_count = 2 + draw(seed, CLIENTS_MAX - 1);
    u->key_count = 2 + draw(seed, KEYS_MAX - 1);
    u->op_count = u->client_count * (1 + draw(seed, OPS_MAX / CLIENTS_MAX));
    u->share = 1 + draw(seed, 3);
    u->holds = draw(seed, 2) || u->breakage >= BREAK_HELD_APART;
    u->carries = draw(seed, 2) || u->breakage == BREAK_CARRY_BEYOND;
    for (uint32_t i = 0; i < u->client_count; i++) {
        u->home[i] = (uint8_t)draw(seed, u->core_count);
        u->pipelined[i] = draw(seed, 2) || u->breakage == BREAK_RUN_RESUMED;
    }
    for (uint32_t i = 0; i < u->op_count; i++)
        draw_op(u, &u->ops[i], seed);
    protocol_prepare(u);
}

/* Picks who makes the next step; the slow seldom do. Returns the actor count where nobody can. */
static uint32_t pick(const struct state *s, const struct setup *u, const uint32_t *weights,
                     uint64_t *seed)
{
    uint32_t count = protocol_actor_count(u), total = 0;
    uint32_t could[CORES_MAX + CLIENTS_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) {
        could[i] = protocol_can_step(s, u, i) ? weights[i] : 0;
        total += could[i];
    }
    if (total == 0)
        return count;
    uint32_t at = draw(seed, total);
    for (uint32_t i = 0;; at -= could[i++])
        if (at < could[i])
            return i;
}

static enum verdict run_schedule(const struct setup *u, uint64_t *seed)
{
    static const uint32_t paces[] = {1, 8, 64};
    uint32_t weights[CORES_MAX + CLIENTS_MAX];
    for (uint32_t i = 0; i < protocol_actor_count(u); i++)
        weights[i] = paces[draw(seed, 3)];
    struct state s;
    protocol_start(&s, u);
    for (uint32_t step = 0; step < STEPS_MAX; step++) {
        /* The pace changes now and then: a core is interrupted anywhere, and goes on. */
        if (step % 16 == 0)
            weights[draw(seed, protocol_actor_count(u))] = paces[draw(seed, 3)];
        uint32_t actor = pick(&s, u, weights, seed);
        if (actor == protocol_actor_count(u))
            return judge(&s, u);
        protocol_step(&s, u, actor);
    }
    return ENDLESS;
}

/* Runs schedules until one is in violation; returns how many it took, or 0 where all were fine. */
static uint32_t run_schedules(enum breakage breakage, uint32_t count, enum verdict *verdict)
{
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15) + breakage;
    for (uint32_t i = 0; i < count; i++) {
        struct setup u = {.breakage = breakage};
        draw_setup(&u, &seed);
        *verdict = run_schedule(&u, &seed);
        if (*verdict != FINE)
            return i + 1;
    }
    return 0;
}

/* Every schedule of a setup. */

struct search {
    uint64_t *seen; /* fingerprints, open addressing */
    uint32_t seen_count;
    struct state *stack;
    uint32_t stack_count, stack_cap;
    struct timespec end; /* in the process's CPU time: other load does not cut it short */
};

/* True where the state is new. */
static bool note_state(struct search *h, const struct state *s)
{
    enum { SLOTS = SEARCH_STATES_MAX * 2 };
    uint64_t print = XXH3_64bits(s, sizeof(*s)) | 1;
    uint32_t at = (uint32_t)(print >> 20) % SLOTS;
    while (h->seen[at] && h->seen[at] != print)
        at = (at + 1) % SLOTS;
    if (h->seen[at])
        return false;
    h->seen[at] = print;
    h->seen_count++;
    return true;
}

static void push_state(struct search *h, const struct state *s)
{
    if (!note_state(h, s))
        return;
    if (h->stack_count == h->stack_cap) {
        h->stack_cap = h->stack_cap ? h->stack_cap * 2 : 1024;
        h->stack = mem_realloc(h->stack, h->stack_cap * sizeof(*h->stack));
    }
    memcpy(&h->stack[h->stack_count++], s, sizeof(*s));
}

static bool is_late(const struct search *h)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec > h->end.tv_sec ||
           (now.tv_sec == h->end.tv_sec && now.tv_nsec > h->end.tv_nsec);
}

/* Sets *whole to false where time or room ran out first. */
static enum verdict search_setup(struct search *h, const struct setup *u, bool *whole)
{
    struct state s;
    protocol_start(&s, u);
    memset(h->seen, 0, SEARCH_STATES_MAX * 2 * sizeof(*h->seen));
    h->seen_count = h->stack_count = 0;
    push_state(h, &s);
    for (uint32_t n = 1; h->stack_count > 0; n++) {
        *whole = h->seen_count < SEARCH_STATES_MAX && (n % 4096 != 0 || !is_late(h));
        if (!*whole)
            return FINE;
        struct state from;
        memcpy(&from, &h->stack[--h->stack_count], sizeof(from));
        bool stuck = true;
        for (uint32_t i = 0; i < protocol_actor_count(u); i++) {
            if (!protocol_can_step(&from, u, i))
                continue;
            stuck = false;
            memcpy(&s, &from, sizeof(s));
            protocol_step(&s, u, i);
            push_state(h, &s);
        }
        enum verdict verdict = stuck ? judge(&from, u) : FINE;
        if (verdict != FINE)
            return verdict;
    }
    return FINE;
}

/* Cores with a key each (as a mask: 1, 2, 4 are single), and what two or three clients ask. */
struct small {
    uint32_t core_count;
    uint32_t client_count;
    uint32_t op_count;
    bool pipelined;
    uint32_t share;
    struct op ops[6];
    bool holds;
};

#define R EFFECT_READ
#define W EFFECT_WRITE
#define T EFFECT_ROTATE

static const struct small smalls[] = {
    {2, 2, 2, false, 2, {{0, 3, W}, {1, 3, R}}, true},
    {2, 2, 2, false, 1, {{0, 3, T}, {1, 3, W}}, true},
    {2, 2, 3, false, 2, {{0, 3, W}, {1, 1, R}, {1, 2, R}}, true},
    {2, 2, 3, true, 2, {{0, 2, W}, {0, 1, W}, {1, 3, R}}, true},
    {2, 2, 3, true, 2, {{0, 1, W}, {0, 2, W}, {1, 3, R}}, true},
    {2, 2, 3, true, 1, {{0, 2, W}, {0, 3, T}, {1, 3, W}}, true},
    {2, 2, 4, true, 2, {{0, 2, W}, {0, 1, W}, {1, 3, R}, {1, 2, W}}, true},
    {2, 3, 3, false, 2, {{0, 3, W}, {1, 3, T}, {2, 3, R}}, true},
    {3, 2, 2, false, 2, {{0, 3, T}, {1, 6, T}}, true},
    {3, 2, 3, true, 2, {{0, 2, W}, {0, 1, W}, {1, 3, R}}, true},
    {2, 2, 3, false, 2, {{0, 3, W}, {1, 1, R}, {1, 2, R}}},
    {2, 2, 3, false, 2, {{0, 1, W}, {0, 2, W}, {1, 3, R}}},
    {2, 2, 3, true, 2, {{0, 3, W}, {1, 2, R}, {1, 1, R}}},
    {2, 2, 3, true, 2, {{0, 1, W}, {0, 2, W}, {1, 3, R}}},
    {2, 2, 3, false, 2, {{0, 3, W, true}, {1, 1, R}, {1, 2, R}}},
    {2, 2, 3, true, 2, {{0, 3, W, true}, {1, 2, R}, {1, 1, R}}},
    {2, 2, 3, true, 1, {{0, 2, W}, {0, 3, T}, {1, 3, W}}},
    {2, 2, 4, false, 1, {{0, 3, W}, {0, 1, R}, {1, 3, W}, {1, 2, R}}},
    {2, 2, 4, false, 2, {{0, 3, W, true}, {0, 2, W}, {1, 3, R}, {1, 1, W}}},
    {2, 2, 4, false, 2, {{0, 1, W}, {0, 3, T}, {1, 2, W}, {1, 3, T}}},
    {2, 2, 4, true, 1, {{0, 3, W}, {0, 3, T}, {1, 3, R}, {1, 3, W}}},
    {2, 3, 3, false, 2, {{0, 3, W}, {1, 3, R}, {2, 1, W}}},
    {2, 3, 3, false, 1, {{0, 3, W}, {1, 3, T}, {2, 2, W}}},
    {2, 3, 3, false, 2, {{0, 3, T}, {1, 3, W, true}, {2, 1, W}}},
    {2, 3, 4, false, 2, {{0, 3, W}, {1, 1, R}, {2, 2, R}, {2, 1, R}}},
    {3, 2, 2, false, 1, {{0, 3, W}, {1, 6, W}}},
    {3, 2, 2, false, 2, {{0, 3, T}, {1, 6, T}}},
    {3, 2, 3, false, 1, {{0, 3, W}, {1, 6, T}, {1, 1, R}}},
    {3, 2, 3, true, 1, {{0, 3, W}, {1, 6, W}, {1, 1, R}}},
    {3, 3, 3, false, 2, {{0, 3, T}, {1, 3, W, true}, {2, 6, R}}},
    {2, 3, 6, false, 2, {{0, 3, W}, {0, 1, R}, {1, 1, W}, {1, 2, R}, {2, 3, T}, {2, 2, R}}},
};

#undef R
#undef W
#undef T

#define SMALL_COUNT (sizeof(smalls) / sizeof(smalls[0]))

/* `homes` numbers the ways to spread the clients over the cores. False behind the last. */
static bool make_setup(struct setup *u, const struct small *from, uint32_t homes)
{
    *u = (struct setup){.core_count = from->core_count, .key_count = from->core_count,
                        .client_count = from->client_count, .op_count = from->op_count,
                        .share = from->share, .holds = from->holds,
                        .carries = true};
    memcpy(u->ops, from->ops, sizeof(from->ops));
    for (uint32_t i = 0; i < from->client_count; i++, homes /= from->core_count) {
        u->home[i] = (uint8_t)(homes % from->core_count);
        u->pipelined[i] = from->pipelined;
    }
    protocol_prepare(u);
    return homes == 0;
}

struct tally {
    uint32_t whole, cut, violations;
    uint64_t states;
};

static void search_small(struct search *h, uint32_t index, struct tally *t)
{
    struct setup u;
    for (uint32_t homes = 0; make_setup(&u, &smalls[index], homes) && !is_late(h); homes++) {
        bool whole;
        enum verdict verdict = search_setup(h, &u, &whole);
        if (verdict != FINE)
            printf("setup %u, homes %u: %s\n", index, homes, verdict_names[verdict]);
        t->violations += verdict != FINE;
        t->whole += whole;
        t->cut += !whole;
        t->states += h->seen_count;
    }
}

static bool check_all_schedules(void)
{
    struct search h = {.seen = mem_alloc(SEARCH_STATES_MAX * 2 * sizeof(uint64_t))};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &h.end);
    h.end.tv_sec += SEARCH_SECONDS;
    struct tally t = {0};
    for (uint32_t i = 0; i < SMALL_COUNT && !is_late(&h); i++)
        search_small(&h, i, &t);
    printf("all schedules of %u setups (and part of those of %u), %llu states, violations %u\n",
           t.whole, t.cut, (unsigned long long)t.states, t.violations);
    mem_free(h.seen);
    mem_free(h.stack);
    return t.violations == 0 && t.whole > 0;
}

static bool check_broken(enum breakage breakage)
{
    static const char *const names[BREAK_COUNT] = {
        "",
        "order before gather",
        "walk past an unpublished entry",
        "sleep without the last look",
        "last look only at the cursor's entry",
        "a participant does not stand still",
        "resumed sessions run without another walk",
        "who stands in leaves an unpublished entry to the sleeper",
        "a borrowed shard's log is not walked",
        "shards held together are not at one place",
        "a core holds its own shard unclaimed",
        "others are carried on to a transaction of more shards",
    };
    enum verdict verdict;
    uint32_t found = run_schedules(breakage, BROKEN_SCHEDULES_MAX, &verdict);
    if (found)
        printf("variant \"%s\": violations found after %u schedules (%s)\n", names[breakage], found,
               verdict_names[verdict]);
    else
        printf("variant \"%s\": NO violation found in %u schedules\n", names[breakage],
               BROKEN_SCHEDULES_MAX);
    return found != 0;
}

int main(void)
{
    enum verdict verdict;
    uint32_t found = run_schedules(BREAK_NOTHING, SCHEDULES, &verdict);
    printf("schedules %u, violations %u%s%s\n", found ? found : SCHEDULES, found != 0,
           found ? ": " : "", found ? verdict_names[verdict] : "");
    bool fine = !found;
    fine &= check_all_schedules();
    for (enum breakage b = BREAK_NOTHING + 1; b < BREAK_COUNT; b++)
        fine &= check_broken(b);
    return fine ? 0 : 1;
}
