/* FCALL and FCALL_RO: the body of their rows. (`reach` is script.h's function_reach.) */
#pragma once

#include "shard/call.h"

void function_call_run(struct call *call);
