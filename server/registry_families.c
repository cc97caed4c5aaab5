/* The registry of the server: the tables of all families, in one list.
 *
 * A file of its own, so that what tests the registry links without every command. A new family
 * adds its array here and to shard/command.h or server/cmd/tables.h. */
#include <stdio.h>

#include "server/cmd/tables.h"
#include "server/registry.h"

struct registry *registry_create(void)
{
    static const struct command *const tables[] = {
        string_commands, string_range_commands, string_multi_commands, lcs_commands,
        counter_commands, increx_commands, bitmap_commands, bitfield_commands, bitop_commands,
        generic_commands, expire_commands, scan_commands, object_commands,
        keyspace_commands, dump_commands, restore_commands,
        list_commands, list_move_commands, list_block_commands,
        set_commands, set_algebra_commands,
        hash_commands, hash_counter_commands, hash_random_commands, hash_expire_commands,
        hash_getex_commands,
        zset_commands, zset_range_commands, zset_algebra_commands, zset_pop_commands,
        stream_commands, stream_read_commands, stream_group_commands, stream_claim_commands,
        stream_info_commands,
        hyperloglog_commands, geo_commands, geo_search_commands, sort_commands,
        acl_commands, cluster_commands, connection_commands, client_commands, command_commands,
        server_commands, persist_commands, migrate_commands, config_commands, info_commands,
        memory_commands, debug_commands, module_commands, slowlog_commands, latency_commands,
        monitor_commands, hotkeys_commands,
        transaction_commands, pubsub_commands, script_commands, function_commands,
        replication_commands, wait_commands,
    };
    return registry_create_from(tables, sizeof(tables) / sizeof(tables[0]));
}

bool registry_rename_all(struct registry *r, const struct config *c, char *error, size_t error_size)
{
    for (uint32_t i = 0; i < c->rename_count; i++) {
        const struct config_rename *rename = &c->renames[i];
        const char *why;
        if (registry_rename(r, slice_of(rename->from), slice_of(rename->to), &why))
            continue;
        snprintf(error, error_size, "%s: %s: rename-command %.100s \"%.100s\"", rename->place, why,
                 rename->from, rename->to);
        return false;
    }
    return true;
}
