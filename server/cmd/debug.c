#include "server/cmd/tables.h"
const struct command debug_commands[] = {{0}};
