#include "server/cmd/tables.h"
const struct command client_commands[] = {{0}};
