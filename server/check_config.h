/* --check-config: whether a server would start with a configuration, as far as that can be told
 * without starting one. */
#pragma once

#include "server/config.h"

/* `c` has been loaded, and the process stands in its directory. Changes nothing. False with one
 * message that names the option and the cure. */
bool check_config(const struct config *c, char *error, size_t error_size);
