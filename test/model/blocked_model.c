/* A model of how a wait ends (server/blocked.h), searched whole.
 *
 * One client waits for keys of two shards; an element comes to each shard, or not, at any moment,
 * and some client without patience may take it first. Each shard serves when an element came. The
 * home core's time runs out at any moment. Every step between two accesses to the shared word is
 * one step here, and every order of steps is tried. Invariants: the client is answered at most
 * once; an element leaves a shard only with that answer (or for the impatient one); when nothing
 * moves any more, the client was answered, or waits, its time has not run out, and no shard has an
 * element for it.
 *
 * Broken variants, which must be found: claiming without a compare-and-swap, letting a recalled
 * wait go on, giving up at home a wait that a shard has claimed, and passing over a wait that the
 * other shard has claimed, which may find nothing. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum word { WAITING, CLAIMED, RECALLED, ENDED };
enum variant {
    SOUND, BLIND_CLAIM, RECALL_FORGOTTEN, HOME_TAKES_CLAIMED, CLAIMED_PASSED_OVER, VARIANTS
};
enum { SHARDS = 2 };

/* Where a shard stands in serving. */
enum shard_step { IDLE, SIGNALLED, SEEN_WAITING, HAS_CLAIM, FOUND, FOUND_NOTHING };
enum home_step { HOME_WAITS, HOME_TIME_UP, HOME_SAW_CLAIMED, HOME_DONE };

struct state {
    uint8_t word;
    uint8_t shard[SHARDS];
    uint8_t element[SHARDS];  /* on the shard now */
    uint8_t to_come[SHARDS];  /* not pushed yet */
    uint8_t taken;            /* by the wait */
    uint8_t home;
    uint8_t recall_message;   /* the bundle on its way home: 1 with a reply, 2 recalled */
    uint8_t answers;
    uint8_t impatient;        /* may still come and take an element */
};

static enum variant variant;
static unsigned long violations, visited_count;
static const char *violation;

static void fail(const char *what)
{
    violations++;
    violation = what;
}

/* The states seen, in an open hash set that is large enough for all of them. */
enum { SEEN_CAP = 1 << 18 };
static struct state seen[SEEN_CAP];
static bool used[SEEN_CAP];

static bool seen_before(const struct state *s)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof(*s); i++)
        hash = (hash ^ ((const uint8_t *)s)[i]) * 16777619u;
    for (uint32_t i = hash % SEEN_CAP;; i = (i + 1) % SEEN_CAP) {
        if (!used[i]) {
            used[i] = true;
            seen[i] = *s;
            visited_count++;
            return false;
        }
        if (memcmp(&seen[i], s, sizeof(*s)) == 0)
            return true;
    }
}

static bool step_shard(struct state *s, int i)
{
    switch ((enum shard_step)s->shard[i]) {
    case IDLE:
        if (!s->to_come[i])
            return false;
        s->to_come[i]--;
        s->element[i]++;
        s->shard[i] = SIGNALLED;
        return true;
    case SIGNALLED: /* the claim: one step where it is a compare-and-swap */
        if (variant == BLIND_CLAIM) {
            s->shard[i] = s->word == WAITING ? SEEN_WAITING : IDLE;
            return true;
        }
        if (s->word == CLAIMED && variant != CLAIMED_PASSED_OVER)
            return false; /* the outcome is awaited */
        s->shard[i] = s->word == WAITING ? HAS_CLAIM : IDLE;
        if (s->word == WAITING)
            s->word = CLAIMED;
        return true;
    case SEEN_WAITING:
        s->word = CLAIMED;
        s->shard[i] = HAS_CLAIM;
        return true;
    case HAS_CLAIM: /* the command runs again */
        s->shard[i] = s->element[i] ? FOUND : FOUND_NOTHING;
        if (s->element[i]) {
            s->element[i]--;
            s->taken++;
        }
        return true;
    case FOUND:
        s->word = ENDED;
        s->recall_message = 1;
        s->shard[i] = IDLE;
        return true;
    case FOUND_NOTHING:
        if (s->word == CLAIMED || variant == RECALL_FORGOTTEN) {
            s->word = WAITING;
        } else {
            s->word = ENDED;
            s->recall_message = 2;
        }
        s->shard[i] = IDLE;
        return true;
    }
    return false;
}

/* Somebody takes the element between the signal and the serving, as a transaction may. */
static bool step_impatient(struct state *s)
{
    if (!s->impatient || !s->element[0] || s->shard[0] != SIGNALLED)
        return false;
    s->impatient = 0;
    s->element[0]--;
    return true;
}

static bool step_home(struct state *s)
{
    switch ((enum home_step)s->home) {
    case HOME_WAITS:
        s->home = HOME_TIME_UP;
        return true;
    case HOME_TIME_UP:
        if (s->word == WAITING || (variant == HOME_TAKES_CLAIMED && s->word == CLAIMED)) {
            s->word = ENDED;
            s->answers++;
            s->home = HOME_DONE;
        } else if (s->word == CLAIMED) {
            s->home = HOME_SAW_CLAIMED;
        } else {
            s->home = HOME_DONE;
        }
        return true;
    case HOME_SAW_CLAIMED: /* a second compare-and-swap, or round again */
        if (s->word == CLAIMED) {
            s->word = RECALLED;
            s->home = HOME_DONE;
        } else {
            s->home = HOME_TIME_UP;
        }
        return true;
    case HOME_DONE:
        return false;
    }
    return false;
}

static bool step_message(struct state *s)
{
    if (!s->recall_message)
        return false;
    s->recall_message = 0;
    s->answers++;
    return true;
}

static void check(const struct state *s, bool at_rest)
{
    if (s->answers > 1)
        fail("the client is answered twice");
    if (s->taken > 1)
        fail("two elements are taken for one wait");
    if (!at_rest)
        return;
    if (s->taken && !s->answers)
        fail("an element is lost");
    if (!s->answers && (s->element[0] || s->element[1]))
        fail("it waits though there is an element");
    if (!s->answers && s->home == HOME_DONE)
        fail("the time ran out and nobody answers");
}

static void search(struct state s)
{
    if (violations || seen_before(&s))
        return;
    bool moved = false;
    for (int action = 0; action < SHARDS + 3; action++) {
        struct state next = s;
        bool does = action < SHARDS          ? step_shard(&next, action)
                    : action == SHARDS       ? step_home(&next)
                    : action == SHARDS + 1   ? step_message(&next)
                                             : step_impatient(&next);
        if (!does)
            continue;
        /* The clock may stand still, and no element come: these alone do not count as movement. */
        moved |= action < SHARDS ? s.shard[action] != IDLE
                                 : action != SHARDS || s.home != HOME_WAITS;
        check(&next, false);
        search(next);
    }
    if (!moved)
        check(&s, true);
}

static bool holds(enum variant v)
{
    variant = v;
    violations = visited_count = 0;
    memset(used, 0, sizeof(used));
    struct state s;
    memset(&s, 0, sizeof(s));
    s.to_come[0] = 2;
    s.to_come[1] = 1;
    s.impatient = 1;
    search(s);
    return violations == 0;
}

int main(void)
{
    static const char *const names[] = {"sound", "blind claim", "recall forgotten",
                                        "home takes what is claimed", "claimed passed over"};
    bool well = true;
    for (int v = SOUND; v < VARIANTS; v++) {
        bool held = holds((enum variant)v);
        printf("%s: %lu states, %s\n", names[v], visited_count, held ? "holds" : violation);
        well &= held == (v == SOUND);
    }
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}
