/* The model's steps: see protocol.h. */
#include "test/model/protocol.h"

#include <assert.h>
#include <string.h>

/* Where a core stands in its loop. A place without something to do is skipped, see settle. */
enum place {
    AT_CLAIM,     /* gather: take the shard back after a sleep */
    AT_NET,       /* gather: take what clients sent */
    AT_HOLD,      /* gather: borrow the next shard that a client's requests need */
    AT_TOGETHER,  /* ... walk the log for those held */
    AT_RUN_HELD,  /* ... run the requests */
    AT_GIVE_BACK, /* ... return a shard */
    AT_TICKET,    /* gather: take a ticket for the next bundle */
    AT_PUBLISH,
    AT_MESH,      /* gather: take what cores sent; sessions go on */
    AT_ATTEND,    /* order: stand in for a participant that sleeps */
    AT_WAKE,      /* ... or wake it */
    AT_WALK,
    AT_STAND,     /* order: wait for a cross transaction */
    AT_CARRY,     /* order: carry those who stand still on to the next entry, or let them go */
    AT_RUN,
    AT_OUTGOING,  /* flush: run the hops for one sleeping core, or post them */
    AT_REPLY,
    AT_HAND,      /* messages for one other core */
    AT_HAND_WAKE,
    AT_SLEEP,
    AT_LOOK,
    AT_ASLEEP,
    AT_BORROWED,  /* walking a borrowed shard's log */
    AT_RETURN,
};

enum holder { HOLDER_OWNER, HOLDER_NONE, HOLDER_BORROWER };
enum errand { ERRAND_LOG, ERRAND_HOPS };

/* Rounds of walking several shards' logs to one place. */
#define HOLD_TRIES 2

static uint32_t lowest(uint32_t mask)
{
    return (uint32_t)__builtin_ctz(mask);
}

static uint8_t keys_of_shard(const struct setup *u, uint32_t shard)
{
    uint8_t mask = 0;
    for (uint32_t k = shard; k < u->key_count; k += u->core_count)
        mask |= (uint8_t)(1u << k);
    return mask;
}

static uint8_t shards_of(const struct setup *u, uint32_t op)
{
    uint8_t mask = 0;
    for (uint32_t i = 0; i < u->core_count; i++)
        if (u->ops[op].keys & keys_of_shard(u, i))
            mask |= (uint8_t)(1u << i);
    return mask;
}

static uint32_t home_of(const struct setup *u, uint32_t op)
{
    return u->home[u->ops[op].client];
}

void protocol_prepare(struct setup *u)
{
    memset(u->ops_of_count, 0, sizeof(u->ops_of_count));
    for (uint32_t i = 0; i < u->op_count; i++) {
        uint32_t client = u->ops[i].client;
        u->ops_of[client][u->ops_of_count[client]++] = (uint8_t)i;
        /* Parts cannot hand values to each other. */
        if (u->ops[i].effect == EFFECT_ROTATE)
            u->ops[i].cross = true;
    }
}

void protocol_start(struct state *s, const struct setup *u)
{
    memset(s, 0, sizeof(*s));
    for (uint32_t i = 0; i < u->core_count; i++) {
        s->cores[i].at = AT_ASLEEP;
        s->cores[i].owner = HOLDER_NONE;
    }
}

static void rotate(uint8_t keys, uint8_t *values, const uint8_t *found)
{
    uint32_t last = 31 - (uint32_t)__builtin_clz(keys);
    for (uint32_t mask = keys; mask; mask &= mask - 1) {
        values[lowest(mask)] = found[last];
        last = lowest(mask);
    }
}

void protocol_apply(const struct setup *u, uint32_t op, uint8_t mask, uint8_t *values,
                    uint8_t *result)
{
    uint8_t keys = u->ops[op].keys & mask;
    for (uint32_t k = 0; k < u->key_count; k++)
        if (keys >> k & 1)
            result[k] = values[k];
    if (u->ops[op].effect == EFFECT_ROTATE)
        rotate(keys, values, result);
    else if (u->ops[op].effect == EFFECT_WRITE)
        for (uint32_t k = 0; k < u->key_count; k++)
            if (keys >> k & 1)
                values[k] = (uint8_t)(op + 1);
}

static void run_part(struct state *s, const struct setup *u, uint32_t op, uint8_t mask)
{
    protocol_apply(u, op, mask, s->values, s->ops[op].result);
}

/* Sessions. */

static void begin(struct state *s, const struct setup *u, uint32_t self, uint32_t op)
{
    struct model_core *c = &s->cores[self];
    uint8_t shards = shards_of(u, op);
    s->clients[u->ops[op].client].busy = 1;
    if (shards & (shards - 1)) {
        s->ops[op].pending = (uint8_t)__builtin_popcount(shards);
        c->unpublished |= (uint16_t)(1u << op);
    } else if (lowest(shards) == self) {
        c->local |= (uint16_t)(1u << op);
    } else {
        s->ops[op].hopping = 1;
        c->outgoing[lowest(shards)] |= (uint16_t)(1u << op);
    }
}

static bool can_go_on(const struct state *s, uint32_t client)
{
    return !s->clients[client].busy && s->clients[client].fed < s->clients[client].received;
}

static bool some_can_go_on(const struct state *s, const struct setup *u, uint32_t self)
{
    for (uint32_t i = 0; i < u->client_count; i++)
        if (u->home[i] == self && can_go_on(s, i))
            return true;
    return false;
}

/* What a client has asked that may be run together: all, but a cross transaction goes alone. */
static uint16_t prefix_of(const struct state *s, const struct setup *u, uint32_t client)
{
    uint16_t prefix = 0;
    for (uint32_t i = s->clients[client].fed; i < s->clients[client].received; i++) {
        uint32_t op = u->ops_of[client][i];
        if (u->ops[op].cross && prefix)
            break;
        prefix |= (uint16_t)(1u << op);
        if (u->ops[op].cross)
            break;
    }
    return prefix;
}

static uint8_t shards_of_all(const struct setup *u, uint16_t ops)
{
    uint8_t shards = 0;
    for (uint32_t mask = ops; mask; mask &= mask - 1)
        shards |= shards_of(u, lowest(mask));
    return shards;
}

/* True where a client's requests are to be run on shards held together, if they can be. */
static bool wants_to_hold(const struct state *s, const struct setup *u, uint32_t self,
                          uint32_t client)
{
    if (!u->holds || u->home[client] != self || !can_go_on(s, client))
        return false;
    uint16_t prefix = prefix_of(s, u, client);
    for (uint32_t mask = prefix; mask; mask &= mask - 1)
        if (u->ops[lowest(mask)].owners)
            return false;
    return shards_of_all(u, prefix) & ~(1u << self);
}

static void begin_next(struct state *s, const struct setup *u, uint32_t self, uint32_t client)
{
    begin(s, u, self, u->ops_of[client][s->clients[client].fed++]);
}

static void feed_sessions(struct state *s, const struct setup *u, uint32_t self)
{
    for (uint32_t i = 0; i < u->client_count; i++)
        if (u->home[i] == self && can_go_on(s, i) && !wants_to_hold(s, u, self, i))
            begin_next(s, u, self, i);
}

static void take_replies(struct state *s, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    for (uint32_t mask = c->inbox; mask; mask &= mask - 1) {
        if (s->ops[lowest(mask)].hopping)
            continue;
        c->finished |= (uint16_t)(1u << lowest(mask));
        c->inbox &= (uint16_t)~(1u << lowest(mask));
    }
}

static void take_messages(struct state *s, uint32_t self)
{
    take_replies(s, self);
    s->cores[self].hops |= s->cores[self].inbox;
    s->cores[self].inbox = 0;
}

static void send_home(struct state *s, const struct setup *u, uint32_t self, uint32_t op)
{
    uint32_t home = home_of(u, op);
    if (home == self)
        s->cores[self].finished |= (uint16_t)(1u << op);
    else
        s->cores[self].outbox[home] |= (uint16_t)(1u << op);
}

/* The log. */

static uint32_t cursor_of(const struct model_core *c)
{
    return lowest(~(uint32_t)c->passed);
}

static uint32_t lowest_cursor(const struct state *s, const struct setup *u)
{
    uint32_t low = UINT32_MAX;
    for (uint32_t i = 0; i < u->core_count; i++)
        if (cursor_of(&s->cores[i]) < low)
            low = cursor_of(&s->cores[i]);
    return low;
}

static bool has_room(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if ((uint32_t)__builtin_popcount(c->tickets) >= u->share)
        c->tickets &= (uint16_t)~((1u << lowest_cursor(s, u)) - 1);
    return (uint32_t)__builtin_popcount(c->tickets) < u->share;
}

static void wake_those_behind(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    for (uint32_t i = 0; i < u->core_count; i++)
        if (cursor_of(&s->cores[i]) <= lowest(c->tickets))
            c->touched |= (uint8_t)(1u << i);
}

/* Where the gather goes on when no more can be published. */
static uint8_t behind_tickets(const struct model_core *c)
{
    return c->part == 1 ? AT_CLAIM : AT_ATTEND;
}

static void take_ticket(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (!has_room(s, u, self)) {
        wake_those_behind(s, u, self);
        c->at = behind_tickets(c);
        return;
    }
    uint32_t ticket = s->next++;
    uint32_t capacity = u->share * u->core_count;
    if (ticket >= capacity && ticket - capacity >= lowest_cursor(s, u))
        s->room_broken = true;
    c->tickets |= (uint16_t)(1u << ticket);
    s->entries[ticket] = (uint8_t)lowest(c->unpublished);
    c->unpublished &= (uint16_t)(c->unpublished - 1);
    c->ticket_taken = (uint8_t)(ticket + 1);
    c->at = AT_PUBLISH;
}

static void publish(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    s->published |= (uint16_t)(1u << (c->ticket_taken - 1));
    c->touched |= shards_of(u, s->entries[c->ticket_taken - 1]);
    c->ticket_taken = 0;
    c->at = AT_TICKET;
}

static void wake(struct state *s, uint32_t to)
{
    if (s->cores[to].owner != HOLDER_OWNER)
        s->cores[to].woken = 1;
}

/* The next entry to pass, or OPS_MAX at the end of the log. */
static uint32_t next_entry(const struct state *s, const struct setup *u, uint32_t self)
{
    uint32_t cursor = cursor_of(&s->cores[self]);
    if (u->breakage == BREAK_PASS_UNPUBLISHED) {
        uint32_t left = s->published & ~(uint32_t)s->cores[self].passed;
        return left ? lowest(left) : OPS_MAX;
    }
    return s->published >> cursor & 1 ? cursor : OPS_MAX;
}

static void release_others(struct state *s, uint8_t shards, uint32_t self, uint32_t ticket)
{
    for (uint32_t mask = shards; mask; mask &= mask - 1)
        if (lowest(mask) != self)
            s->cores[lowest(mask)].released = (uint8_t)(ticket + 1);
}

/* From here on the shards of a cross transaction stand still for this core. */
static void begin_to_carry(struct state *s, const struct setup *u, uint32_t self, uint32_t ticket)
{
    s->cores[self].carrying = shards_of(u, s->entries[ticket]);
    s->cores[self].carries_from = (uint8_t)(ticket + 1);
}

/* Acts on an entry for a shard that it names. False where the core has to stand still. */
static bool act(struct state *s, const struct setup *u, uint32_t self, uint32_t shard,
                uint32_t ticket)
{
    uint32_t op = s->entries[ticket];
    bool cross = u->ops[op].cross;
    if (u->breakage == BREAK_CARRY_BEYOND && s->ops[op].pending == 0)
        return true;
    if (!cross)
        run_part(s, u, op, keys_of_shard(u, shard));
    if (--s->ops[op].pending > 0)
        return !cross || u->breakage == BREAK_NO_STAND;
    if (cross) {
        run_part(s, u, op, UINT8_MAX);
        begin_to_carry(s, u, self, ticket);
    }
    send_home(s, u, self, op);
    return true;
}

static bool names(const struct state *s, const struct setup *u, uint32_t ticket, uint32_t shard)
{
    return shards_of(u, s->entries[ticket]) >> shard & 1;
}

static void walk(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t ticket = next_entry(s, u, self);
    if (ticket == OPS_MAX) {
        c->at = u->breakage == BREAK_ORDER_BEFORE_GATHER ? AT_NET : AT_RUN;
    } else if (names(s, u, ticket, self) && !act(s, u, self, self, ticket)) {
        c->stands = (uint8_t)(ticket + 1);
        c->at = AT_STAND;
    } else if (c->carrying) {
        c->at = AT_CARRY;
    } else {
        c->passed |= (uint16_t)(1u << ticket);
    }
}

/* Acts on an entry for those of the shards at hand that it names. False where it is not to be done
 * for them: it needs others to stand still as well. */
static bool act_for_held(struct state *s, const struct setup *u, uint32_t self, uint32_t ticket)
{
    uint8_t held = s->cores[self].carrying;
    uint32_t op = s->entries[ticket];
    uint8_t named = shards_of(u, op);
    if (!(named & held))
        return true;
    if (u->ops[op].cross) {
        if (named != held && u->breakage != BREAK_CARRY_BEYOND)
            return false;
        run_part(s, u, op, UINT8_MAX);
        s->ops[op].pending = 0;
        send_home(s, u, self, op);
        return true;
    }
    if (u->ops[op].owners)
        return false;
    for (uint32_t mask = named & held; mask; mask &= mask - 1)
        act(s, u, self, lowest(mask), ticket);
    return true;
}

static void carry(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t last = cursor_of(c);
    bool more = u->carries && s->published >> (last + 1) & 1;
    if (more && act_for_held(s, u, self, last + 1)) {
        for (uint32_t mask = c->carrying; mask; mask &= mask - 1)
            s->cores[lowest(mask)].passed |= (uint16_t)(1u << last);
        return;
    }
    c->passed |= (uint16_t)(1u << last);
    release_others(s, c->carrying, self, c->carries_from - 1u);
    c->carrying = c->carries_from = 0;
    c->at = AT_WALK;
}

static bool passed_all(const struct state *s, uint32_t core)
{
    return s->cores[core].passed == (1u << s->next) - 1;
}

/* Standing in for cores that sleep. */

static bool may_stand_in(const struct setup *u, uint16_t ops)
{
    for (uint32_t mask = ops; mask; mask &= mask - 1)
        if (u->ops[lowest(mask)].cross || u->ops[lowest(mask)].owners)
            return false;
    return true;
}

static bool borrow(struct state *s, uint32_t self, uint32_t from, enum errand errand)
{
    struct model_core *c = &s->cores[self];
    if (s->cores[from].owner != HOLDER_NONE)
        return false;
    s->cores[from].owner = HOLDER_BORROWER;
    c->borrowed = (uint8_t)(from + 1);
    c->errand = (uint8_t)errand;
    c->walked = 0;
    c->at = AT_BORROWED;
    return true;
}

/* A ticket taken and not published keeps the errand from success: then the owner is woken, and
 * stays awake until it is. */
static void walk_borrowed(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t shard = c->borrowed - 1u;
    uint32_t ticket = next_entry(s, u, shard);
    bool unwalked = u->breakage == BREAK_STAND_IN_UNWALKED && c->errand == ERRAND_HOPS;
    if (ticket == OPS_MAX || unwalked) {
        c->walked = unwalked || u->breakage == BREAK_STAND_IN_SHORT || passed_all(s, shard);
        c->at = AT_RETURN;
    } else if (!names(s, u, ticket, shard)) {
        s->cores[shard].passed |= (uint16_t)(1u << ticket);
    } else if (may_stand_in(u, (uint16_t)(1u << s->entries[ticket]))) {
        act(s, u, self, shard, ticket);
        s->cores[shard].passed |= (uint16_t)(1u << ticket);
    } else {
        c->at = AT_RETURN;
    }
}

static void run_hops(struct state *s, const struct setup *u, uint32_t self, uint16_t hops)
{
    for (uint32_t mask = hops; mask; mask &= mask - 1) {
        run_part(s, u, lowest(mask), UINT8_MAX);
        s->ops[lowest(mask)].hopping = 0;
        send_home(s, u, self, lowest(mask));
    }
}

static void post_outgoing(struct model_core *c, uint32_t to)
{
    c->outbox[to] |= c->outgoing[to];
    c->outgoing[to] = 0;
}

static void return_borrowed(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t from = c->borrowed - 1u;
    if (c->errand == ERRAND_LOG) {
        if (c->walked)
            c->touched &= (uint8_t)~(1u << from);
        c->at = c->walked ? AT_ATTEND : AT_WAKE;
    } else {
        if (c->walked) {
            run_hops(s, u, self, c->outgoing[from]);
            c->outgoing[from] = 0;
        } else {
            post_outgoing(c, from);
        }
        c->at = AT_OUTGOING;
    }
    c->borrowed = c->errand = c->walked = 0;
    s->cores[from].owner = HOLDER_NONE;
}

static void attend(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (!borrow(s, self, lowest(c->touched), ERRAND_LOG))
        c->at = AT_WAKE;
}

static void send_outgoing(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t to = 0;
    while (!c->outgoing[to])
        to++;
    if (!may_stand_in(u, c->outgoing[to]) || !borrow(s, self, to, ERRAND_HOPS))
        post_outgoing(c, to);
}

/* Running a client's requests on several shards held together. */

/* Where a client wants it, the next hold begins; else the gather goes on. */
static void begin_hold(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t client = 0;
    while (client < u->client_count && !wants_to_hold(s, u, self, client))
        client++;
    if (client == u->client_count) {
        c->at = AT_TICKET;
        return;
    }
    c->serving = (uint8_t)(client + 1);
    c->prefix = prefix_of(s, u, client);
    c->needed = shards_of_all(u, c->prefix);
}

/* Where requests were not run, the first of them goes the usual way. */
static void end_hold(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (c->prefix)
        begin_next(s, u, self, c->serving - 1u);
    c->serving = c->needed = c->unwalked = c->tries = 0;
    c->prefix = 0;
    c->at = AT_HOLD;
}

static void hold(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t left = c->needed & ~(1u << self) & ~(uint32_t)c->held;
    uint32_t from = lowest(left);
    if (s->cores[from].owner != HOLDER_NONE) {
        c->at = AT_GIVE_BACK;
        return;
    }
    s->cores[from].owner = HOLDER_BORROWER;
    c->held |= (uint8_t)(1u << from);
    if (left & (left - 1))
        return;
    c->unwalked = c->needed;
    c->at = AT_TOGETHER;
}

/* All held shards have been walked: runs the requests where that led to one place. */
static void compare_places(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t first = cursor_of(&s->cores[lowest(c->needed)]);
    bool equal = true;
    for (uint32_t mask = c->needed; mask; mask &= mask - 1)
        equal &= cursor_of(&s->cores[lowest(mask)]) == first;
    if (equal || u->breakage == BREAK_HELD_APART) {
        c->at = AT_RUN_HELD;
    } else if (++c->tries == HOLD_TRIES) {
        c->at = AT_GIVE_BACK;
    } else {
        c->unwalked = c->needed;
    }
}

static void walk_held(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t shard = lowest(c->unwalked);
    uint32_t ticket = next_entry(s, u, shard);
    if (ticket == OPS_MAX) {
        c->unwalked &= (uint8_t)(c->unwalked - 1);
        if (!passed_all(s, shard))
            c->at = AT_GIVE_BACK;
        else if (!c->unwalked)
            compare_places(s, u, self);
    } else if (!names(s, u, ticket, shard)) {
        s->cores[shard].passed |= (uint16_t)(1u << ticket);
    } else if (may_stand_in(u, (uint16_t)(1u << s->entries[ticket]))) {
        act(s, u, self, shard, ticket);
        s->cores[shard].passed |= (uint16_t)(1u << ticket);
    } else {
        c->at = AT_GIVE_BACK;
    }
}

/* The session is not busy behind it: what it asks next may be gathered before replies go out. */
static void run_held(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    for (uint32_t mask = c->prefix; mask; mask &= mask - 1)
        run_part(s, u, lowest(mask), UINT8_MAX);
    s->clients[c->serving - 1].fed += (uint8_t)__builtin_popcount(c->prefix);
    c->answered |= c->prefix;
    c->prefix = 0;
    c->at = AT_GIVE_BACK;
}

static void give_back(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    s->cores[lowest(c->held)].owner = HOLDER_NONE;
    c->held &= (uint8_t)(c->held - 1);
}

/* The rest of the loop. */

static void run(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    for (uint32_t mask = c->local; mask; mask &= mask - 1)
        run_part(s, u, lowest(mask), UINT8_MAX);
    c->finished |= c->local;
    c->local = 0;
    run_hops(s, u, self, c->hops);
    c->hops = 0;
    c->at = AT_OUTGOING;
}

static void reply(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    for (uint32_t mask = c->finished; mask; mask &= mask - 1)
        s->clients[u->ops[lowest(mask)].client].busy = 0;
    s->complete |= c->finished | c->answered;
    c->finished = c->answered = 0;
}

static void flush(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (u->breakage == BREAK_RUN_RESUMED)
        take_replies(s, self);
    reply(s, u, self);
    c->at = AT_HAND;
    if (u->breakage == BREAK_RUN_RESUMED) {
        feed_sessions(s, u, self);
        if (c->local)
            c->at = AT_RUN;
    }
}

static void hand_over(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    uint32_t to = 0;
    while (!c->outbox[to])
        to++;
    s->cores[to].inbox |= c->outbox[to];
    c->outbox[to] = 0;
    c->waking = (uint8_t)(to + 1);
    c->at = AT_HAND_WAKE;
}

/* Begins the next iteration. Who slept takes the shard back before anything else. */
static void begin_loop(struct model_core *c, const struct setup *u)
{
    c->part = 0;
    c->at = u->breakage == BREAK_HELD_UNCLAIMED ? AT_NET : AT_CLAIM;
}

static void skip_claim(struct model_core *c, const struct setup *u)
{
    if (c->at != AT_CLAIM || c->owner != HOLDER_OWNER)
        return;
    bool order_first = u->breakage == BREAK_ORDER_BEFORE_GATHER;
    c->at = c->part ? AT_MESH : order_first ? AT_WALK : AT_NET;
}

/* The last look before sleeping: a ticket that was taken counts, published or not. The core that
 * publishes it attends only to those it names, but somebody named behind it may have to pass it
 * first. */
static bool others_gave_work(const struct state *s, const struct setup *u, uint32_t self)
{
    if (s->cores[self].inbox)
        return true;
    if (u->breakage == BREAK_LOOK_AT_CURSOR)
        return next_entry(s, u, self) != OPS_MAX;
    return !passed_all(s, self);
}

static void look(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (u->breakage != BREAK_NO_LAST_LOOK && others_gave_work(s, u, self))
        begin_loop(c, u);
    else
        c->at = AT_ASLEEP;
}

static bool is_empty(const uint16_t *boxes)
{
    for (uint32_t i = 0; i < CORES_MAX; i++)
        if (boxes[i])
            return false;
    return true;
}

/* Skips places where there is nothing to do: no other actor can tell. */
static void settle(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    bool order_first = u->breakage == BREAK_ORDER_BEFORE_GATHER;
    if (c->at == AT_GIVE_BACK && !c->held)
        end_hold(s, u, self);
    if (c->at == AT_HOLD && !c->serving)
        begin_hold(s, u, self);
    if (c->at == AT_TICKET && !c->unpublished)
        c->at = behind_tickets(c);
    skip_claim(c, u);
    if (!c->borrowed)
        c->touched &= (uint8_t)~(1u << self);
    if (c->at == AT_ATTEND && !c->touched)
        c->at = order_first ? AT_RUN : AT_WALK;
    if (c->at == AT_OUTGOING && is_empty(c->outgoing))
        c->at = AT_REPLY;
    if (c->at == AT_REPLY && !c->finished && !c->answered && u->breakage != BREAK_RUN_RESUMED)
        c->at = AT_HAND;
    if (c->at != AT_HAND || !is_empty(c->outbox))
        return;
    if (!is_empty(c->outgoing))
        c->at = AT_OUTGOING;
    else if (c->unpublished || some_can_go_on(s, u, self))
        begin_loop(c, u);
    else
        c->at = AT_SLEEP;
    skip_claim(c, u);
}

static void take_from_clients(struct state *s, const struct setup *u, uint32_t self)
{
    s->cores[self].woken = 0;
    for (uint32_t i = 0; i < u->client_count; i++)
        if (u->home[i] == self)
            s->clients[i].received = s->clients[i].sent;
}

static void gather(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    if (c->at == AT_NET)
        take_from_clients(s, u, self);
    else
        take_messages(s, self);
    feed_sessions(s, u, self);
    c->part = c->at == AT_NET ? 1 : 2;
    c->at = AT_HOLD;
}

static void step_loop(struct state *s, const struct setup *u, uint32_t self)
{
    struct model_core *c = &s->cores[self];
    switch ((enum place)c->at) {
    case AT_CLAIM:
        c->owner = HOLDER_OWNER;
        break;
    case AT_WAKE:
        wake(s, lowest(c->touched));
        c->touched &= (uint8_t)(c->touched - 1);
        c->at = AT_ATTEND;
        break;
    case AT_STAND: /* it passes the entry that it was carried on to */
        c->passed |= (uint16_t)(1u << cursor_of(c));
        c->stands = 0;
        c->at = AT_WALK;
        break;
    case AT_HAND_WAKE:
        wake(s, c->waking - 1u);
        c->waking = 0;
        c->at = AT_HAND;
        break;
    case AT_SLEEP:
        c->owner = HOLDER_NONE;
        c->at = AT_LOOK;
        break;
    default: /* AT_ASLEEP */
        begin_loop(c, u);
        break;
    }
}

static void step_core(struct state *s, const struct setup *u, uint32_t self)
{
    static void (*const steps[])(struct state *, const struct setup *, uint32_t) = {
        [AT_NET] = gather, [AT_MESH] = gather, [AT_HOLD] = hold, [AT_TOGETHER] = walk_held,
        [AT_RUN_HELD] = run_held, [AT_GIVE_BACK] = give_back, [AT_TICKET] = take_ticket,
        [AT_PUBLISH] = publish, [AT_WALK] = walk, [AT_CARRY] = carry, [AT_RUN] = run,
        [AT_OUTGOING] = send_outgoing, [AT_REPLY] = flush, [AT_LOOK] = look,
        [AT_BORROWED] = walk_borrowed, [AT_RETURN] = return_borrowed,
        [AT_CLAIM] = step_loop, [AT_WAKE] = step_loop, [AT_STAND] = step_loop,
        [AT_HAND_WAKE] = step_loop, [AT_SLEEP] = step_loop, [AT_ASLEEP] = step_loop,
        [AT_ATTEND] = attend, [AT_HAND] = hand_over,
    };
    steps[s->cores[self].at](s, u, self);
    settle(s, u, self);
}

/* Clients. */

static bool client_can_send(const struct state *s, const struct setup *u, uint32_t client)
{
    uint32_t sent = s->clients[client].sent;
    if (sent == u->ops_of_count[client])
        return false;
    return sent == 0 || u->pipelined[client] ||
           (s->complete >> u->ops_of[client][sent - 1] & 1);
}

static void client_send(struct state *s, const struct setup *u, uint32_t client)
{
    uint32_t op = u->ops_of[client][s->clients[client].sent++];
    s->ops[op].before = s->complete;
    /* A connection's pipeline takes effect in the order sent. */
    if (s->clients[client].sent > 1)
        s->ops[op].before |= (uint16_t)(1u << u->ops_of[client][s->clients[client].sent - 2]);
}

static bool core_can_step(const struct state *s, const struct setup *u, uint32_t self)
{
    const struct model_core *c = &s->cores[self];
    if (c->at == AT_STAND)
        return c->released == c->stands;
    if (c->at == AT_CLAIM)
        return c->owner == HOLDER_NONE;
    if (c->at != AT_ASLEEP || c->woken)
        return true;
    for (uint32_t i = 0; i < u->client_count; i++)
        if (u->home[i] == self && s->clients[i].received < s->clients[i].sent)
            return true;
    return false;
}

bool protocol_can_step(const struct state *s, const struct setup *u, uint32_t actor)
{
    if (actor < u->core_count)
        return core_can_step(s, u, actor);
    return client_can_send(s, u, actor - u->core_count);
}

void protocol_step(struct state *s, const struct setup *u, uint32_t actor)
{
    if (actor < u->core_count)
        step_core(s, u, actor);
    else
        client_send(s, u, actor - u->core_count);
}

static uint16_t entries_of(const struct state *s, const struct setup *u, uint32_t core)
{
    uint16_t mask = 0;
    for (uint32_t t = 0; t < s->next; t++)
        if (shards_of(u, s->entries[t]) >> core & 1)
            mask |= (uint16_t)(1u << t);
    return mask;
}

bool protocol_overslept(const struct state *s, const struct setup *u)
{
    for (uint32_t i = 0; i < u->core_count; i++) {
        const struct model_core *c = &s->cores[i];
        if (c->at == AT_ASLEEP && (c->inbox || (entries_of(s, u, i) & ~c->passed)))
            return true;
    }
    return false;
}
