/* Who owns a shard: its core while it is awake, nobody while that sleeps, or another core for a
 * moment.
 *
 * Waking a sleeping thread costs the waker several microseconds, more than most work it would be
 * woken for. So a core that sleeps lets go of its shard, and a core that has a little work for that
 * shard *borrows* it, does what the owner would have done (walks the order log to its end, then
 * runs the requests), and returns it. The owner claims the shard back when it wakes, before it does
 * anything else.
 *
 * The word: OWNED by its core; FREE, the core sleeps; BORROWED; AWAITED, borrowed and the owner
 * waits; KEPT, returned to an owner that waits: nobody else can borrow it before that has had it.
 * FREE -> BORROWED and FREE or KEPT -> OWNED are compare-and-swaps with acquire; letting go and
 * returning are releases: each holder sees all that the one before wrote to the shard.
 * `owner_asleep` is also the question of whoever gives the core other work: anything but OWNED
 * means that it must be woken. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum owner_state { OWNER_OWNED, OWNER_FREE, OWNER_BORROWED, OWNER_AWAITED, OWNER_KEPT };

/* The owner, before it sleeps. Sequentially consistent: the owner then takes its last look at its
 * queues, after which whoever publishes work sees it asleep. */
void owner_release(_Atomic uint32_t *word);
/* The owner, after it woke: waits while the shard is borrowed. */
void owner_claim(_Atomic uint32_t *word);
/* The same, for so long at most: false where it is still borrowed then, by somebody who had it
 * before this call returned and returns it to us alone (AWAITED). So an owner that goes on with
 * its sessions meanwhile (serve.h) shares them with that one borrower, and no other. */
bool owner_claim_within(_Atomic uint32_t *word, int64_t wait_us);
/* Another core: true where it has the shard now, until owner_return. */
bool owner_borrow(_Atomic uint32_t *word);
void owner_return(_Atomic uint32_t *word);

static inline bool owner_asleep(const _Atomic uint32_t *word)
{
    return atomic_load((_Atomic uint32_t *)word) != OWNER_OWNED;
}
