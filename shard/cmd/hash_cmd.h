/* What the files of the hash family share.
 *
 * Private to shard/cmd/hash*.c. */
#pragma once

#include "shard/db.h"
#include "shard/type/hash.h"

/* Puts a hash back as db_keep does. Fields that have expired unseen do not keep the key: where no
 * other is left, they go as well. `event` is what the command did ("hdel", ...; NULL: it changed
 * nothing): the change is said here, and that the key is gone. */
void hash_keep(struct call *c, struct place *p, struct value *v, const char *event);

/* Replies with the field's value, or null where the key or the field is absent. */
void hash_reply_value(struct call *c, const struct place *p, struct slice field);

/* Reads "FIELDS numfields field ..." from argument `at` to the end; `*first` receives where the
 * fields begin. False, having replied with the error; `count_error` is that of a bad numfields. */
bool hash_fields_read(struct call *c, uint32_t at, const char *count_error, uint32_t *first);

enum hash_unit { HASH_UNIT_MS = 1, HASH_UNIT_SECONDS = 1000 };

/* Argument `arg` in that unit, counted from `base_ms`, as ms since the epoch. False, having replied
 * with the error. */
bool hash_expiry_read(struct call *c, uint32_t arg, enum hash_unit unit, int64_t base_ms,
                      int64_t *expires_ms);
/* A time that is not to come: a field given it goes at once. */
static inline bool hash_expiry_past(const struct call *c, int64_t expires_ms)
{
    return expires_ms <= call_due_ms(c);
}
