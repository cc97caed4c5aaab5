/* What the files of the list family share: ends, popping, moving.
 *
 * Private to shard/cmd/list*.c. Functions that take a place have found it to be a list that is
 * there (lists are never empty); they make the whole change and the reply. Those that read
 * arguments reply with the error themselves. */
#pragma once

#include "shard/call.h"
#include "shard/db.h"
#include "shard/type/list.h"

/* The keys of a move: its source and its destination. */
#define LIST_KEYS_MOVE                                                                      \
    {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .find = KEY_FIND_RANGE,        \
      .last = 0, .step = 1},                                                                \
     {.flags = KEY_RW | KEY_INSERT, .begin = 2, .find = KEY_FIND_RANGE, .last = 0, .step = 1}}

/* Notifies of a push or a pop at an end, and that the list went with its last element. */
static inline void list_notify_push(const struct place *p, enum list_end end)
{
    db_notify(p, NOTIFY_LIST, end == LIST_HEAD ? "lpush" : "rpush");
}
static inline void list_notify_pop(const struct place *p, enum list_end end)
{
    db_notify_taken(p, NOTIFY_LIST, end == LIST_HEAD ? "lpop" : "rpop");
}

/* Argument `arg` as LEFT or RIGHT. */
bool list_arg_end(struct call *c, uint32_t arg, enum list_end *end);

/* Replies with an array of `count` elements, the first being the one at `index`. */
void list_reply_range(struct call *c, const struct value *v, uint64_t index, uint64_t count,
                      bool backward);
/* Tells the journal of a pop by a command that is not LPOP or RPOP. */
void list_tell_pop(struct call *c, const struct place *p, enum list_end end, uint64_t count);
/* Pops one element and replies with it. */
void list_pop(struct call *c, struct place *p, enum list_end end);
/* Pops up to `count` elements (at least 1) and replies with an array of them. */
void list_pop_many(struct call *c, struct place *p, enum list_end end, uint64_t count);

/* The ends of LMOVE, its arguments 3 and 4. */
struct list_move {
    enum list_end from, to;
};
bool list_move_read(struct call *c, struct list_move *m);
/* Moves an element of the list at the place, which is that of argument 1, to the list that is
 * argument 2. */
void list_move(struct call *c, struct place *from, struct list_move m);

/* What LMPOP and BLMPOP are asked: `numkeys key ... LEFT|RIGHT [COUNT count]`. */
struct list_mpop {
    uint32_t first_key, key_count;
    enum list_end end;
    int64_t count;
};
/* Reads them, from argument `arg` on. */
bool list_mpop_read(struct call *c, uint32_t arg, struct list_mpop *m);
/* Pops from the list at the place of argument `arg`, with its name in the reply. */
void list_mpop(struct call *c, uint32_t arg, struct place *p, const struct list_mpop *m);
