/* See owner.h. */
#include "server/owner.h"

#include <assert.h>
#include <ck_pr.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks before a claim sleeps: a borrower is done within microseconds, unless it was preempted. */
#define CLAIM_LOOKS 100

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
    uint32_t before = atomic_exchange(word, OWNER_FREE);
    assert(before == OWNER_BORROWED || before == OWNER_AWAITED);
    if (before == OWNER_AWAITED)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void owner_claim(_Atomic uint32_t *word)
{
    for (uint32_t looks = 0;; looks++) {
        uint32_t expected = OWNER_FREE;
        if (atomic_compare_exchange_strong(word, &expected, OWNER_OWNED))
            return;
        if (looks < CLAIM_LOOKS) {
            ck_pr_stall();
            continue;
        }
        if (expected == OWNER_BORROWED)
            atomic_compare_exchange_strong(word, &expected, OWNER_AWAITED);
        /* Returns at once where the word has changed meanwhile. */
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, OWNER_AWAITED, NULL, NULL, 0);
    }
}
