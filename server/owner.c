/* See owner.h. */
#include "server/owner.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Looks before a claim sleeps: a borrower is done within microseconds, unless it was preempted. */
#define CLAIM_LOOKS 100
/* How long it sleeps at a time. */
#define CLAIM_WAIT_US 100000

void owner_release(_Atomic uint32_t *word)
{
    assert(atomic_load_explicit(word, memory_order_relaxed) == OWNER_OWNED);
    atomic_store(word, OWNER_FREE);
}

bool owner_borrow(_Atomic uint32_t *word)
{
    uint32_t expected = OWNER_FREE;
    return atomic_load_explicit(word, memory_order_relaxed) == OWNER_FREE &&
           atomic_compare_exchange_strong(word, &expected, OWNER_BORROWED);
}

void owner_return(_Atomic uint32_t *word)
{
    uint32_t before = OWNER_BORROWED;
    if (atomic_compare_exchange_strong(word, &before, OWNER_FREE))
        return;
    assert(before == OWNER_AWAITED);
    atomic_store(word, OWNER_KEPT);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool try_claim(_Atomic uint32_t *word)
{
    uint32_t expected = OWNER_FREE;
    if (atomic_compare_exchange_strong(word, &expected, OWNER_OWNED))
        return true;
    return expected == OWNER_KEPT && atomic_compare_exchange_strong(word, &expected, OWNER_OWNED);
}

/* True where the shard is borrowed: the next return is then for us. */
static bool announce_wait(_Atomic uint32_t *word)
{
    uint32_t expected = OWNER_BORROWED;
    return atomic_compare_exchange_strong(word, &expected, OWNER_AWAITED) ||
           expected == OWNER_AWAITED;
}

bool owner_claim_within(_Atomic uint32_t *word, int64_t wait_us)
{
    for (uint32_t looks = 0; looks < CLAIM_LOOKS; looks++) {
        if (try_claim(word))
            return true;
        ck_pr_stall();
    }
    while (!announce_wait(word))
        if (try_claim(word))
            return true;
    struct timespec timeout = {wait_us / 1000000, wait_us % 1000000 * 1000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, OWNER_AWAITED, &timeout, NULL, 0);
    return try_claim(word);
}

void owner_claim(_Atomic uint32_t *word)
{
    while (!owner_claim_within(word, CLAIM_WAIT_US))
        continue;
}
