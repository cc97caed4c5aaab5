/* The cluster group: CLUSTER, READONLY, READWRITE and ASKING, as a server answers that is not part
 * of a Redis Cluster.
 *
 * The rows are what matters: clients ask COMMAND for them, ACL rules name them, and a cluster
 * client learns from the error, which is Redis's own, to speak to one server. */
#include "server/cmd/tables.h"
#include "shard/call.h"

static void run_disabled(struct call *c)
{
    reply_error(&c->reply, "ERR This instance has cluster support disabled");
}

#define CHANGES (CMD_NO_ASYNC_LOADING | CMD_ADMIN | CMD_STALE)
#define VARIES .tips = "nondeterministic_output"
#define CLUSTER(word, args, f, version) \
    .name = word, .run = run_disabled, .arity = args, .route = ROUTE_SESSION, .flags = (f), \
    .group = "cluster", .since = version
#define OF_NODES .complexity = "O(N) where N is the total number of Cluster nodes"
#define OF_SLOTS .complexity = "O(N) where N is the total number of hash slot arguments"
#define OF_REPLICAS .complexity = "O(N) where N is the number of replicas."
#define OF_RANGES \
    .complexity = "O(N) where N is the total number of the slots between the start slot and end " \
                  "slot arguments."

static const struct command cluster_subcommands[] = {
    {CLUSTER("addslots", -3, CHANGES, "3.0.0"), OF_SLOTS, .syntax = "slot [slot ...]",
     .summary = "Assigns slots to this node."},
    {CLUSTER("addslotsrange", -4, CHANGES, "7.0.0"), OF_RANGES,
     .syntax = "start-slot end-slot [start-slot end-slot ...]",
     .summary = "Assigns ranges of slots to this node."},
    {CLUSTER("bumpepoch", 2, CHANGES, "3.0.0"), .complexity = "O(1)", VARIES,
     .summary = "Advances the epoch of the configuration."},
    {CLUSTER("count-failure-reports", 3, CMD_ADMIN | CMD_STALE, "3.0.0"),
     .complexity = "O(N) where N is the number of failure reports", .syntax = "node-id", VARIES,
     .summary = "Returns how many nodes report that a node has failed."},
    {CLUSTER("countkeysinslot", 3, CMD_STALE, "3.0.0"), .complexity = "O(1)", .syntax = "slot",
     .summary = "Returns the number of keys in a slot."},
    {CLUSTER("delslots", -3, CHANGES, "3.0.0"), OF_SLOTS, .syntax = "slot [slot ...]",
     .summary = "Takes slots from a node."},
    {CLUSTER("delslotsrange", -4, CHANGES, "7.0.0"), OF_RANGES,
     .syntax = "start-slot end-slot [start-slot end-slot ...]",
     .summary = "Takes ranges of slots from a node."},
    {CLUSTER("failover", -2, CHANGES, "3.0.0"), .complexity = "O(1)",
     .syntax = "[FORCE | TAKEOVER]",
     .summary = "Puts a replica in its master's place."},
    {CLUSTER("flushslots", 2, CHANGES, "3.0.0"), .complexity = "O(1)",
     .summary = "Takes all slots from this node."},
    {CLUSTER("forget", 3, CHANGES, "3.0.0"), .complexity = "O(1)", .syntax = "node-id",
     .summary = "Removes a node from the table of nodes."},
    {CLUSTER("getkeysinslot", 4, CMD_STALE, "3.0.0"),
     .complexity = "O(N) where N is the number of requested keys", .syntax = "slot count", VARIES,
     .summary = "Returns names of keys in a slot."},
    {CLUSTER("help", 2, CMD_LOADING | CMD_STALE, "5.0.0"), .complexity = "O(1)",
     .summary = "Returns a text on the subcommands."},
    {CLUSTER("info", 2, CMD_STALE, "3.0.0"), .complexity = "O(1)", VARIES,
     .summary = "Returns the state of this node."},
    {CLUSTER("keyslot", 3, CMD_STALE, "3.0.0"),
     .complexity = "O(N) where N is the number of bytes in the key", .syntax = "key",
     .summary = "Returns the slot of a key."},
    {CLUSTER("links", 2, CMD_STALE, "7.0.0"), OF_NODES, VARIES,
     .summary = "Returns the connections to and from other nodes."},
    {CLUSTER("meet", -4, CHANGES, "3.0.0"), .complexity = "O(1)",
     .syntax = "ip port [cluster-bus-port]",
     .summary = "Makes this node known to another one."},
    {CLUSTER("myid", 2, CMD_STALE, "3.0.0"), .complexity = "O(1)",
     .summary = "Returns this node's id."},
    {CLUSTER("myshardid", 2, CMD_STALE, "7.2.0"), .complexity = "O(1)", VARIES,
     .summary = "Returns the id of this node's shard."},
    {CLUSTER("nodes", 2, CMD_STALE, "3.0.0"), OF_NODES, VARIES,
     .summary = "Returns the cluster's nodes as this one knows them."},
    {CLUSTER("replicas", 3, CMD_ADMIN | CMD_STALE, "5.0.0"), OF_REPLICAS, .syntax = "node-id",
     VARIES, .summary = "Returns the replicas of a node."},
    {CLUSTER("replicate", 3, CHANGES, "3.0.0"), .complexity = "O(1)", .syntax = "node-id",
     .summary = "Makes this node a replica of another one."},
    {CLUSTER("reset", -2, CMD_ADMIN | CMD_STALE | CMD_NOSCRIPT, "3.0.0"),
     .complexity = "O(N) where N is the number of known nodes. The command may execute a FLUSHALL "
                   "as a side effect.",
     .syntax = "[HARD | SOFT]", .summary = "Makes this node forget the cluster."},
    {CLUSTER("saveconfig", 2, CHANGES, "3.0.0"), .complexity = "O(1)",
     .summary = "Writes the node's configuration to disk."},
    {CLUSTER("set-config-epoch", 3, CHANGES, "3.0.0"), .complexity = "O(1)",
     .syntax = "config-epoch", .summary = "Sets the epoch of a new node."},
    {CLUSTER("setslot", -4, CHANGES, "3.0.0"), .complexity = "O(1)",
     .syntax = "slot <IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
     .summary = "Binds a slot to a node."},
    {CLUSTER("shards", 2, CMD_LOADING | CMD_STALE, "7.0.0"),
     .complexity = "O(N) where N is the total number of cluster nodes", VARIES,
     .summary = "Returns the nodes and the slots of each of the cluster's shards."},
    {CLUSTER("slaves", 3, CMD_ADMIN | CMD_STALE, "3.0.0"), OF_REPLICAS, .syntax = "node-id",
     VARIES, .deprecated_since = "5.0.0", .replaced_by = "`CLUSTER REPLICAS`",
     .summary = "Returns the replicas of a node."},
    {CLUSTER("slots", 2, CMD_LOADING | CMD_STALE, "3.0.0"), OF_NODES, VARIES,
     .deprecated_since = "7.0.0", .replaced_by = "`CLUSTER SHARDS`",
     .summary = "Returns which node has which slots."},
    {.name = NULL},
};

#define CONNECTION(word, f) \
    CLUSTER(word, 1, f, "3.0.0"), .acl = ACL_CONNECTION, .complexity = "O(1)"

const struct command cluster_commands[] = {
    {CONNECTION("asking", CMD_FAST),
     .summary = "Says that a client follows an -ASK redirection."},
    {.name = "cluster", .arity = -2, .route = ROUTE_SESSION, .group = "cluster", .since = "3.0.0",
     .complexity = "Depends on subcommand.", .summary = "A container for commands on the cluster.",
     .subcommands = cluster_subcommands},
    {CONNECTION("readonly", CMD_FAST | CMD_LOADING | CMD_STALE),
     .summary = "Allows reads on a connection to a cluster's replica."},
    {CONNECTION("readwrite", CMD_FAST | CMD_LOADING | CMD_STALE),
     .summary = "Allows only reads of a master again."},
    {.name = NULL},
};
