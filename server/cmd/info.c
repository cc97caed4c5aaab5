#include "server/cmd/tables.h"
const struct command info_commands[] = {{0}};
