/* The order log. Its source is included, not linked: a ticket that is taken and not yet published
 * can only be made from inside. */
#include "server/order.c"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

static struct core_mask mask_of(uint64_t cores)
{
    return (struct core_mask){.words = {cores}};
}

static uint64_t publish(struct order *o, uint32_t self, void *work, uint64_t cores)
{
    struct core_mask mask = mask_of(cores);
    return order_publish(o, self, work, &mask);
}

static void cr_expect_next(struct order *o, uint32_t self, void *work, uint64_t ticket)
{
    uint64_t got = UINT64_MAX;
    cr_expect_eq(order_next(o, self, &got), work);
    cr_expect_eq(got, ticket);
}

static void cr_expect_end(struct order *o, uint32_t self)
{
    uint64_t ticket;
    cr_expect_null(order_next(o, self, &ticket));
}

Test(order, gives_entries_in_the_order_of_tickets)
{
    struct order *o = order_create(2, 16);
    int works[4];
    for (uint64_t i = 0; i < 4; i++)
        cr_expect_eq(publish(o, i % 2, &works[i], 3), i);
    cr_expect_eq(order_count(o), 4);
    for (uint32_t core = 0; core < 2; core++) {
        for (uint64_t i = 0; i < 4; i++)
            cr_expect_next(o, core, &works[i], i);
        cr_expect_end(o, core);
    }
    order_destroy(o);
}

Test(order, passes_entries_that_name_others)
{
    struct order *o = order_create(3, 16);
    int a, b, c, d;
    publish(o, 0, &a, 6);
    publish(o, 1, &b, 1);
    publish(o, 2, &c, 6);
    publish(o, 0, &d, 5);
    cr_expect_next(o, 0, &b, 1);
    cr_expect_next(o, 0, &d, 3);
    cr_expect_end(o, 0);
    cr_expect_next(o, 1, &a, 0);
    cr_expect_next(o, 1, &c, 2);
    cr_expect_end(o, 1);
    cr_expect_eq(atomic_load(&o->cores[1].cursor), 4);
    order_destroy(o);
}

Test(order, finds_a_core_beyond_the_first_word_of_a_mask)
{
    struct order *o = order_create(200, 1024);
    struct core_mask mask = {0};
    int work;
    core_mask_add(&mask, 199);
    order_publish(o, 3, &work, &mask);
    cr_expect_end(o, 7);
    cr_expect_end(o, 135);
    cr_expect_next(o, 199, &work, 0);
    order_destroy(o);
}

Test(order, has_room_for_64_tickets_of_each_of_many_cores)
{
    struct order *o = order_create(SHARD_COUNT_MAX, 0);
    struct core_mask mask = {0};
    int work;
    core_mask_add(&mask, 0);
    for (int i = 0; i < 64; i++) {
        cr_assert(order_has_room(o, 77));
        order_publish(o, 77, &work, &mask);
    }
    order_destroy(o);
}

Test(order, passes_the_entry_acted_on_at_the_next_call)
{
    struct order *o = order_create(1, 4);
    int works[5];
    for (int i = 0; i < 4; i++)
        publish(o, 0, &works[i], 1);
    cr_expect_not(order_has_room(o, 0));
    cr_expect_next(o, 0, &works[0], 0);
    cr_expect_not(order_has_room(o, 0), "the first entry is still being acted on");
    cr_expect_next(o, 0, &works[1], 1);
    cr_expect(order_has_room(o, 0));
    cr_expect_eq(publish(o, 0, &works[4], 1), 4);
    for (uint64_t i = 2; i < 5; i++)
        cr_expect_next(o, 0, &works[i], i);
    cr_expect_end(o, 0);
    cr_expect_end(o, 0);
    order_destroy(o);
}

Test(order, shows_an_entry_ahead_and_whom_it_names_once_it_is_published)
{
    struct order *o = order_create(2, 16);
    struct core_mask named = {0};
    int work;
    cr_expect_null(order_peek(o, 0, &named));
    publish(o, 1, &work, 2);
    cr_expect_eq(order_peek(o, 0, &named), &work);
    cr_expect(core_mask_has(&named, 1) && !core_mask_has(&named, 0));
    cr_expect_null(order_peek(o, 1, &named));
    cr_expect_eq(order_cursor(o, 0), 0, "a look moves nobody");
    order_destroy(o);
}

Test(order, carries_a_shard_on_to_a_later_entry_which_it_passes_next)
{
    struct order *o = order_create(2, 8);
    int works[5];
    for (int i = 0; i < 4; i++)
        publish(o, 0, &works[i], 3);
    cr_expect_not(order_has_room(o, 0));
    for (uint32_t core = 0; core < 2; core++) {
        cr_expect_next(o, core, &works[0], 0);
        order_carry(o, core, 1);
    }
    cr_expect(order_has_room(o, 0), "the first entry has been passed");
    publish(o, 0, &works[4], 3);
    cr_expect_not(order_has_room(o, 0), "the second is being acted on");
    for (uint32_t core = 0; core < 2; core++) {
        order_carry(o, core, 3);
        cr_expect_next(o, core, &works[4], 4);
    }
    order_destroy(o);
}

Test(order, has_entries_until_the_walk_ended)
{
    struct order *o = order_create(2, 8);
    int work;
    cr_expect_not(order_has_entries(o, 0));
    publish(o, 0, &work, 2);
    cr_expect(order_has_entries(o, 0), "an entry of others has to be passed too");
    cr_expect(order_has_entries(o, 1));
    cr_expect_end(o, 0);
    cr_expect_not(order_has_entries(o, 0));
    cr_expect_next(o, 1, &work, 0);
    cr_expect_end(o, 1);
    cr_expect_not(order_has_entries(o, 1));
    order_destroy(o);
}

Test(order, has_room_for_a_cores_share_only)
{
    struct order *o = order_create(2, 8);
    int work;
    for (int i = 0; i < 4; i++) {
        cr_expect(order_has_room(o, 0));
        publish(o, 0, &work, 1);
    }
    cr_expect_not(order_has_room(o, 0));
    cr_expect(order_has_room(o, 1), "the other's share is its own");
    for (uint64_t i = 0; i < 4; i++)
        cr_expect_next(o, 0, &work, i);
    cr_expect_end(o, 0);
    cr_expect_not(order_has_room(o, 0), "core 1 has not passed them");
    cr_expect_end(o, 1);
    cr_expect(order_has_room(o, 0));
    order_destroy(o);
}

Test(order, counts_no_more_than_the_capacity_unretired_where_shares_are_uneven)
{
    struct order *o = order_create(3, 16);
    int work;
    for (uint32_t core = 0; core < 3; core++)
        for (int i = 0; i < 5; i++) {
            cr_expect(order_has_room(o, core));
            publish(o, core, &work, 7);
        }
    for (uint32_t core = 0; core < 3; core++)
        cr_expect_not(order_has_room(o, core));
    cr_expect_leq(order_count(o), 16);
    order_destroy(o);
}

Test(order, names_those_that_are_behind)
{
    struct order *o = order_create(4, 16);
    int work;
    cr_expect_eq(order_behind(o, 2).words[0], 0, "nothing is owed without tickets");
    publish(o, 0, &work, 1);
    for (int i = 0; i < 4; i++)
        publish(o, 2, &work, 8);
    cr_expect_eq(order_behind(o, 2).words[0], 0xf);
    cr_expect_end(o, 1);
    cr_expect_eq(order_behind(o, 2).words[0], 0xd);
    cr_expect_next(o, 0, &work, 0);
    cr_expect_end(o, 0);
    cr_expect_eq(order_behind(o, 2).words[0], 0xc);
    cr_expect_next(o, 3, &work, 1);
    cr_expect_eq(order_behind(o, 2).words[0], 0xc, "core 3 stands at the oldest");
    cr_expect_next(o, 3, &work, 2);
    cr_expect_eq(order_behind(o, 2).words[0], 0x4);
    cr_expect_not(order_has_room(o, 2));
    cr_expect_end(o, 2);
    cr_expect(order_has_room(o, 2));
    order_destroy(o);
}

Test(order, wraps_around_many_times)
{
    struct order *o = order_create(2, 8);
    int works[7];
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t cores = 1 + i % 3;
        cr_assert(order_has_room(o, i % 2));
        publish(o, i % 2, &works[i % 7], cores);
        for (uint32_t core = 0; core < 2; core++) {
            if (cores >> core & 1)
                cr_expect_next(o, core, &works[i % 7], i);
            cr_expect_end(o, core);
        }
    }
    order_destroy(o);
}

/* What order_publish does, in two halves. */
static uint64_t take_ticket(struct order *o)
{
    return atomic_fetch_add(&o->next, 1);
}

static void fill_entry(struct order *o, uint64_t ticket, void *work, uint64_t cores)
{
    struct order_entry *e = &o->entries[ticket & (o->capacity - 1)];
    e->work = work;
    e->mask = mask_of(cores);
    atomic_store_explicit(&e->published, ticket + 1, memory_order_release);
}

Test(order, ends_at_a_ticket_not_yet_published)
{
    struct order *o = order_create(3, 16);
    int a, b;
    uint64_t delayed = take_ticket(o);
    publish(o, 1, &b, 6);
    for (uint32_t core = 0; core < 3; core++)
        cr_expect_end(o, core);
    fill_entry(o, delayed, &a, 2);
    cr_expect_end(o, 0);
    cr_expect_next(o, 1, &a, 0);
    cr_expect_next(o, 1, &b, 1);
    cr_expect_next(o, 2, &b, 1);
    order_destroy(o);
}

/* Whoever publishes late wakes those it names, and nobody would wake a core that is named behind
 * it. */
Test(order, keeps_a_core_awake_while_a_ticket_is_not_published)
{
    struct order *o = order_create(3, 16);
    int b;
    take_ticket(o);
    publish(o, 1, &b, 6);
    cr_expect_end(o, 2);
    cr_expect(order_has_entries(o, 2));
    order_destroy(o);
}

Test(order, does_not_take_an_old_round_for_the_present_one)
{
    struct order *o = order_create(1, 4);
    int old, fresh;
    for (uint64_t i = 0; i < 4; i++) {
        publish(o, 0, &old, 1);
        cr_expect_next(o, 0, &old, i);
    }
    cr_expect_end(o, 0);
    uint64_t ticket = take_ticket(o);
    cr_expect_end(o, 0);
    fill_entry(o, ticket, &fresh, 1);
    cr_expect_next(o, 0, &fresh, 4);
    order_destroy(o);
}

/* Many threads. */

struct piece {
    uint64_t cores;
    uint64_t ticket;
};

struct seen {
    struct piece *piece;
    uint64_t ticket;
};

struct crowd {
    struct order *order;
    uint32_t count;
    uint32_t pieces_each;
    struct piece *pieces; /* by core, then in the order published */
    _Atomic uint32_t finished;
};

struct walker {
    pthread_t thread;
    struct crowd *crowd;
    uint32_t self;
    uint32_t pieces;
    uint64_t seed;
    struct seen *seen;
    uint32_t seen_count;
};

static uint64_t draw(struct walker *w)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed;
}

static void walk(struct walker *w)
{
    uint64_t ticket;
    struct piece *p;
    while ((p = order_next(w->crowd->order, w->self, &ticket)) != NULL)
        w->seen[w->seen_count++] = (struct seen){p, ticket};
}

static void publish_one(struct walker *w, uint32_t i)
{
    struct crowd *c = w->crowd;
    struct piece *p = &c->pieces[w->self * c->pieces_each + i];
    while (!order_has_room(c->order, w->self)) {
        walk(w);
        sched_yield();
    }
    p->cores = draw(w) >> 7 & ((1u << c->count) - 1);
    if (p->cores == 0)
        p->cores = 1u << w->self;
    struct core_mask mask = mask_of(p->cores);
    p->ticket = order_publish(c->order, w->self, p, &mask);
}

static void *publish_and_walk(void *at)
{
    struct walker *w = at;
    struct crowd *c = w->crowd;
    for (uint32_t i = 0; i < w->pieces; i++) {
        publish_one(w, i);
        if (draw(w) >> 9 & 1)
            walk(w);
        /* The last core publishes now and then, over the whole run. */
        for (uint32_t n = w->pieces; n < c->pieces_each; n += w->pieces) {
            walk(w);
            sched_yield();
        }
    }
    atomic_fetch_add(&c->finished, 1);
    while (atomic_load(&c->finished) < c->count) {
        walk(w);
        sched_yield();
    }
    walk(w);
    return NULL;
}

static struct piece **sort_by_ticket(const struct crowd *c, const struct walker *walkers)
{
    uint64_t total = order_count(c->order);
    struct piece **by_ticket = mem_alloc_zeroed(total * sizeof(*by_ticket));
    for (uint32_t i = 0; i < c->count; i++) {
        for (uint32_t k = 0; k < walkers[i].pieces; k++) {
            struct piece *p = &c->pieces[i * c->pieces_each + k];
            cr_assert(p->ticket < total && by_ticket[p->ticket] == NULL, "a ticket is one's own");
            by_ticket[p->ticket] = p;
        }
    }
    return by_ticket;
}

/* Core w saw exactly the pieces that name it, in the one order of tickets. */
static void cr_assert_saw_all(const struct crowd *c, const struct walker *w,
                              struct piece *const *by_ticket)
{
    uint32_t n = 0;
    for (uint64_t t = 0; t < order_count(c->order); t++) {
        if (!(by_ticket[t]->cores >> w->self & 1))
            continue;
        cr_assert_lt(n, w->seen_count, "core %u missed ticket %lu", w->self, t);
        cr_assert_eq(w->seen[n].ticket, t);
        cr_assert_eq(w->seen[n].piece, by_ticket[t]);
        n++;
    }
    cr_assert_eq(n, w->seen_count, "core %u saw something twice", w->self);
}

static void run_crowd(uint32_t count, uint32_t capacity, uint32_t pieces_each)
{
    struct crowd c = {.order = order_create(count, capacity), .count = count,
                      .pieces_each = pieces_each};
    c.pieces = mem_alloc_zeroed(count * pieces_each * sizeof(*c.pieces));
    struct walker walkers[8];
    for (uint32_t i = 0; i < count; i++) {
        bool seldom = i == count - 1;
        walkers[i] = (struct walker){.crowd = &c, .self = i, .seed = 0x9e3779b97f4a7c15 * (i + 1),
                                     .pieces = seldom ? pieces_each / 64 : pieces_each};
        walkers[i].seen = mem_alloc(count * pieces_each * sizeof(*walkers[i].seen));
        pthread_create(&walkers[i].thread, NULL, publish_and_walk, &walkers[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        pthread_join(walkers[i].thread, NULL);
    struct piece **by_ticket = sort_by_ticket(&c, walkers);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_saw_all(&c, &walkers[i], by_ticket);
        cr_expect_eq(atomic_load(&c.order->cores[i].cursor), order_count(c.order));
        mem_free(walkers[i].seen);
    }
    mem_free(by_ticket);
    mem_free(c.pieces);
    order_destroy(c.order);
}

Test(order, is_one_order_to_two_threads)
{
    run_crowd(2, 8, 20000);
}

Test(order, is_one_order_to_four_threads)
{
    run_crowd(4, 16, 8000);
}

Test(order, is_one_order_to_eight_threads)
{
    run_crowd(8, 32, 3000);
}

Test(order, is_one_order_where_shares_do_not_fill_the_capacity)
{
    run_crowd(3, 16, 8000);
}
