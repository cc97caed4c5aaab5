/* The families of the server room: commands on sessions and on the whole server. Those on data
 * are in shard/command.h. Each array ends with a row without a name; server/registry_families.c
 * lists all. */
#pragma once

#include "shard/command.h"

extern const struct command acl_commands[];
extern const struct command cluster_commands[];
extern const struct command connection_commands[];
extern const struct command client_commands[];
extern const struct command command_commands[];
extern const struct command server_commands[];
extern const struct command config_commands[];
extern const struct command info_commands[];
extern const struct command memory_commands[];
extern const struct command debug_commands[];
extern const struct command transaction_commands[];
extern const struct command pubsub_commands[];
extern const struct command script_commands[];
extern const struct command function_commands[];
extern const struct command persist_commands[];
extern const struct command migrate_commands[];
extern const struct command module_commands[];
extern const struct command slowlog_commands[];
extern const struct command latency_commands[];
extern const struct command monitor_commands[];
extern const struct command hotkeys_commands[];
extern const struct command replication_commands[];
extern const struct command wait_commands[];
