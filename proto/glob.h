/* Redis's glob-style patterns (KEYS, SCAN, CONFIG GET): * ? [abc] [^a] [a-z] and \ to escape.
 * Pure; any thread. Bounded: a pattern with many stars costs no exponential time. */
#pragma once

#include "proto/slice.h"

bool glob_match(struct slice pattern, struct slice text, bool ignore_case);
