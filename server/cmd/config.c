#include "server/cmd/tables.h"
const struct command config_commands[] = {{0}};
