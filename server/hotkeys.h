/* Hot keys: which keys a shard is busy with, by a sample of the keys that commands name.
 *
 * While HOTKEYS is on, one key in about so many (server->observing.hot_interval), at random
 * distances, goes into the heavy-hitters sketch of its shard (shard/type/heavy.h). The sketch goes
 * with the shard: whoever holds that may use it. */
#pragma once

#include "server/core.h"
#include "shard/call.h"
#include "shard/type/heavy.h"

/* After a command's run, with the shards that it ran on still at hand. */
void hotkeys_note(const struct call *call);
/* Makes a shard's sketch ready, and empties it. While its core stands still, as the next. */
void hotkeys_begin(struct core *c);
void hotkeys_finish(struct core *c);
