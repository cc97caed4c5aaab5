/* EVAL and EVALSHA, for the command rows. On a core's thread. */
#pragma once

#include "server/core.h"
#include "server/script/store.h"

/* The body of EVAL, EVALSHA and their read-only forms. */
void eval_run(struct call *call);
/* SCRIPT LOAD: the script's record; NULL, having replied with the error. */
const struct script *eval_load(struct core *c, struct slice source, struct reply *reply);
