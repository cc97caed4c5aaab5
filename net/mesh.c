/* The mesh: one ck_ring a pair of cores, and what makes looking at many of them cheap.
 *
 * An element is the LAST message of a chain whose last links to its first: the receiver joins
 * chains without walking them.
 *
 * A receiver does not scan its rings. After it enqueued, a sender sets its bit in the receiver's
 * inbox; the receiver takes all bits at once and empties the rings of these senders. A bit may be
 * set though its ring is empty already (the receiver came between the enqueue and the bit): one
 * look too many, never one too few. An empty look costs one load for each 64 cores.
 *
 * Enqueueing is ck_ring's. Dequeueing is not: in 0.7.1 _ck_ring_dequeue_sc has only a store fence
 * (no load fence) between reading the slot and moving c_head, which where loads may pass later
 * stores (aarch64) lets the producer overwrite the slot before it was read. Here a release store
 * moves c_head, once for all elements taken. The sender's own load of c_head is an acquire, its
 * pair. */
#include "net/mesh.h"

#include "proto/mem.h"

#include <assert.h>
#include <ck_ring.h>
#include <stdalign.h>
#include <string.h>

/* A power of two. Few are needed: what a full ring keeps back is joined to the next chain. */
#define RING_SIZE 16
#define BITS 64

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MESH_TSAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define MESH_TSAN
#endif

/* ck's loads and stores are inline assembly on x86-64, which ThreadSanitizer does not see: it is
 * told that what precedes an enqueue happens before what follows the dequeue. */
#ifdef MESH_TSAN
extern void __tsan_acquire(void *address);
extern void __tsan_release(void *address);
#else
#define __tsan_acquire(address) ((void)0)
#define __tsan_release(address) ((void)0)
#endif

/* From one core to another. */
struct channel {
    alignas(64) struct ck_ring ring;
    struct ck_ring_buffer slots[RING_SIZE];
};

/* Senders that enqueued something since the receiver looked. Set by the senders, taken by the
 * receiver. */
struct inbox {
    alignas(64) uint64_t *senders;
};

/* What a core posted and did not hand over yet; only that core touches it. */
struct outbox {
    alignas(64) uint64_t *receivers;
    struct mesh_message **last; /* by receiver: the last message of the pending chain, or NULL */
};

struct mesh {
    uint32_t core_count;
    uint32_t word_count; /* of each bitmap */
    struct channel *channels; /* [receiver * core_count + sender] */
    struct inbox *inboxes;
    struct outbox *outboxes;
};

static void *alloc_lines(size_t size)
{
    void *at = mem_alloc_aligned(size, 64);
    memset(at, 0, size);
    return at;
}

static size_t lines(size_t size)
{
    return (size + 63) / 64 * 64;
}

struct mesh *mesh_create(uint32_t core_count)
{
    assert(core_count > 0);
    struct mesh *m = mem_alloc_zeroed(sizeof(*m));
    m->core_count = core_count;
    m->word_count = (core_count + BITS - 1) / BITS;
    m->channels = alloc_lines((size_t)core_count * core_count * sizeof(*m->channels));
    m->inboxes = alloc_lines(core_count * sizeof(*m->inboxes));
    m->outboxes = alloc_lines(core_count * sizeof(*m->outboxes));
    for (size_t i = 0; i < (size_t)core_count * core_count; i++)
        ck_ring_init(&m->channels[i].ring, RING_SIZE);
    for (uint32_t i = 0; i < core_count; i++) {
        m->inboxes[i].senders = alloc_lines(lines(m->word_count * sizeof(uint64_t)));
        m->outboxes[i].receivers = alloc_lines(lines(m->word_count * sizeof(uint64_t)));
        m->outboxes[i].last = alloc_lines(lines(core_count * sizeof(struct mesh_message *)));
    }
    return m;
}

void mesh_destroy(struct mesh *m)
{
    if (m == NULL)
        return;
    for (uint32_t i = 0; i < m->core_count; i++) {
        mem_free(m->inboxes[i].senders);
        mem_free(m->outboxes[i].receivers);
        mem_free(m->outboxes[i].last);
    }
    mem_free(m->channels);
    mem_free(m->inboxes);
    mem_free(m->outboxes);
    mem_free(m);
}

static struct channel *channel_of(const struct mesh *m, uint32_t from, uint32_t to)
{
    return &m->channels[(size_t)to * m->core_count + from];
}

/* Joins two rings of messages, each given by its last, either NULL. Returns the last of all. */
static struct mesh_message *join(struct mesh_message *last, struct mesh_message *more)
{
    if (last == NULL || more == NULL)
        return last != NULL ? last : more;
    struct mesh_message *first = last->next;
    last->next = more->next;
    more->next = first;
    return more;
}

/* ---- sending ---- */

void mesh_post(struct mesh *m, uint32_t self, uint32_t to, struct mesh_message *message)
{
    assert(self < m->core_count && to < m->core_count && self != to);
    struct outbox *out = &m->outboxes[self];
    message->next = message;
    out->last[to] = join(out->last[to], message);
    out->receivers[to / BITS] |= UINT64_C(1) << to % BITS;
}

/* The one producer's side. False where the ring is full. */
static bool channel_enqueue(struct channel *ch, struct mesh_message *last)
{
    /* Pairs with the release in channel_take. ck looks again, and can only find more room. */
    uint32_t consumed = __atomic_load_n(&ch->ring.c_head, __ATOMIC_ACQUIRE);
    if (ch->ring.p_tail - consumed >= RING_SIZE - 1)
        return false;
    struct ck_ring_buffer *slot = ck_ring_enqueue_reserve_spsc(&ch->ring, ch->slots);
    assert(slot != NULL);
    slot->value = last;
    __tsan_release(&ch->ring);
    /* ck's commit orders stores before p_tail; our loads of the messages, which the receiver may
     * change at once, must be over too. Pairs with the acquire in channel_take. */
    ck_pr_fence_release();
    ck_ring_enqueue_commit_spsc(&ch->ring);
    return true;
}

static bool hand_over(struct mesh *m, uint32_t self, uint32_t to)
{
    struct outbox *out = &m->outboxes[self];
    assert(out->last[to] != NULL);
    if (!channel_enqueue(channel_of(m, self, to), out->last[to]))
        return false;
    out->last[to] = NULL;
    /* Pairs with the exchange in mesh_receive and with the load in mesh_has_messages. */
    __atomic_fetch_or(&m->inboxes[to].senders[self / BITS], UINT64_C(1) << self % BITS,
                      __ATOMIC_RELEASE);
    return true;
}

bool mesh_flush(struct mesh *m, uint32_t self, void (*handed)(void *context, uint32_t to),
                void *context)
{
    assert(self < m->core_count);
    bool left = false;
    uint64_t *receivers = m->outboxes[self].receivers;
    for (uint32_t word = 0; word < m->word_count; word++) {
        for (uint64_t bits = receivers[word]; bits != 0; bits &= bits - 1) {
            uint32_t to = word * BITS + (uint32_t)__builtin_ctzll(bits);
            if (!hand_over(m, self, to)) {
                left = true;
                continue;
            }
            receivers[word] &= ~(bits & -bits);
            handed(context, to);
        }
    }
    return left;
}

/* ---- receiving ---- */

/* The one consumer's side: adds all that the channel has to the chain ending in `last`. */
static struct mesh_message *channel_take(struct channel *ch, struct mesh_message *last)
{
    uint32_t head = ch->ring.c_head;
    /* Pairs with the commit in channel_enqueue. */
    uint32_t tail = __atomic_load_n(&ch->ring.p_tail, __ATOMIC_ACQUIRE);
    if (head == tail)
        return last;
    __tsan_acquire(&ch->ring);
    for (; head != tail; head++)
        last = join(last, ch->slots[head % RING_SIZE].value);
    /* Every slot was read before the sender may reuse it: pairs with channel_enqueue. */
    __atomic_store_n(&ch->ring.c_head, head, __ATOMIC_RELEASE);
    return last;
}

struct mesh_message *mesh_receive(struct mesh *m, uint32_t self)
{
    assert(self < m->core_count);
    struct mesh_message *last = NULL;
    uint64_t *senders = m->inboxes[self].senders;
    for (uint32_t word = 0; word < m->word_count; word++) {
        if (__atomic_load_n(&senders[word], __ATOMIC_RELAXED) == 0)
            continue;
        /* Pairs with the fetch_or in hand_over. */
        uint64_t bits = __atomic_exchange_n(&senders[word], 0, __ATOMIC_ACQUIRE);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t from = word * BITS + (uint32_t)__builtin_ctzll(bits);
            last = channel_take(channel_of(m, from, self), last);
        }
    }
    if (last == NULL)
        return NULL;
    struct mesh_message *first = last->next;
    last->next = NULL;
    return first;
}

bool mesh_has_messages(const struct mesh *m, uint32_t self)
{
    assert(self < m->core_count);
    for (uint32_t word = 0; word < m->word_count; word++) {
        if (__atomic_load_n(&m->inboxes[self].senders[word], __ATOMIC_ACQUIRE) != 0)
            return true;
    }
    return false;
}

/* Positions are counters that wrap; those of two threads are read one after the other. */
uint64_t mesh_depth(const struct mesh *m, uint32_t self)
{
    assert(self < m->core_count);
    uint64_t depth = 0;
    for (uint32_t from = 0; from < m->core_count; from++) {
        const struct channel *ch = channel_of(m, from, self);
        /* Relaxed: a figure to look at, nothing is read through it. */
        uint32_t taken = __atomic_load_n(&ch->ring.c_head, __ATOMIC_RELAXED);
        depth += (__atomic_load_n(&ch->ring.p_tail, __ATOMIC_RELAXED) - taken) % RING_SIZE;
    }
    return depth;
}
