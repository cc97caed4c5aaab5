/* CONFIG, as far as DEBUG has a part of it. */
#pragma once

#include "shard/call.h"

/* CONFIG REWRITE; with `everything` options at their defaults get their lines, too. */
void config_reply_rewrite(struct call *c, bool everything);
