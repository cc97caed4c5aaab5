/* The owner word: one holder at a time, and nobody waits for ever. */
#include "server/owner.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

#define BORROWERS 3
#define ROUNDS 20000

struct shared {
    _Atomic uint32_t word;
    _Atomic bool ended;
    uint64_t held; /* written only by whoever holds the word */
    uint64_t inside;
};

static void hold(struct shared *s)
{
    cr_assert_eq(s->inside, 0);
    s->inside = 1;
    s->held++;
    s->inside = 0;
}

static void *borrow_often(void *argument)
{
    struct shared *s = argument;
    uintptr_t borrowed = 0;
    while (!atomic_load(&s->ended)) {
        if (!owner_borrow(&s->word)) {
            sched_yield();
            continue;
        }
        hold(s);
        borrowed++;
        if (borrowed % 16 == 0)
            sched_yield(); /* preempted while holding: the owner must wait for it */
        owner_return(&s->word);
    }
    return (void *)borrowed;
}

Test(owner, an_awake_core_is_not_borrowed_from)
{
    _Atomic uint32_t word = OWNER_OWNED;
    cr_assert_not(owner_asleep(&word));
    cr_assert_not(owner_borrow(&word));
}

Test(owner, a_sleeping_core_is_borrowed_from_once_at_a_time)
{
    _Atomic uint32_t word = OWNER_OWNED;
    owner_release(&word);
    cr_assert(owner_asleep(&word));
    cr_assert(owner_borrow(&word));
    cr_assert_not(owner_borrow(&word));
    cr_assert(owner_asleep(&word));
    owner_return(&word);
    cr_assert(owner_borrow(&word));
    owner_return(&word);
    owner_claim(&word);
    cr_assert_not(owner_asleep(&word));
}

Test(owner, one_thread_at_a_time_holds_the_shard, .timeout = 60)
{
    struct shared s = {.word = OWNER_OWNED};
    pthread_t threads[BORROWERS];
    for (int i = 0; i < BORROWERS; i++)
        pthread_create(&threads[i], NULL, borrow_often, &s);
    for (int i = 0; i < ROUNDS; i++) {
        hold(&s);
        owner_release(&s.word);
        if (i % 4 == 0)
            sched_yield();
        owner_claim(&s.word);
    }
    atomic_store(&s.ended, true);
    uint64_t borrowed = 0;
    owner_release(&s.word);
    for (int i = 0; i < BORROWERS; i++) {
        void *count;
        pthread_join(threads[i], &count);
        borrowed += (uintptr_t)count;
    }
    cr_assert_eq(s.held, ROUNDS + borrowed);
    cr_assert_gt(borrowed, 0);
}

Test(owner, a_claim_gives_up_after_its_time)
{
    _Atomic uint32_t word = OWNER_OWNED;
    owner_release(&word);
    cr_assert(owner_borrow(&word));
    cr_assert_not(owner_claim_within(&word, 1000));
    cr_assert_not(owner_claim_within(&word, 1000));
    owner_return(&word);
    cr_assert(owner_claim_within(&word, 1000));
    cr_assert_not(owner_asleep(&word));
}

Test(owner, a_shard_that_its_owner_waits_for_is_returned_to_it_alone)
{
    _Atomic uint32_t word = OWNER_OWNED;
    owner_release(&word);
    cr_assert(owner_borrow(&word));
    cr_assert_not(owner_claim_within(&word, 1000));
    owner_return(&word);
    cr_assert_not(owner_borrow(&word));
    cr_assert(owner_asleep(&word));
    owner_claim(&word);
    cr_assert_not(owner_asleep(&word));
}
