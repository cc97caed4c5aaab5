/* The table of changes, by command: see command_history.h. A command's lines stand together, in the
 * order of versions. */
#include "server/command_history.h"

#include <string.h>

#define ANY_NUMBER "Takes any number of "

static const struct command_change changes[] = {
    {"acl|getuser", "6.2.0", NULL, "Tells the patterns of channels."},
    {"acl|getuser", "7.0.0", NULL, "Tells selectors; patterns are written as rules."},
    {"acl|log", "7.2.0", NULL, "Entries have an id, and the times of their first and last event."},
    {"acl|setuser", "6.2.0", NULL, "Patterns of channels."},
    {"acl|setuser", "7.0.0", NULL, "Selectors, and patterns for reading or writing alone."},
    {"auth", "6.0.0", "username", "A user's name before the password."},
    {"bgsave", "3.2.2", "SCHEDULE", "`SCHEDULE`."},
    {"bitcount", "7.0.0", "unit", "`BYTE` and `BIT`."},
    {"bitop", "8.2.0", "DIFF DIFF1 ANDOR ONE", "`DIFF`, `DIFF1`, `ANDOR` and `ONE`."},
    {"bitpos", "7.0.0", "unit", "`BYTE` and `BIT`."},
    {"blpop", "6.0.0", NULL, "The timeout may have a fraction."},
    {"brpop", "6.0.0", NULL, "The timeout may have a fraction."},
    {"brpoplpush", "6.0.0", NULL, "The timeout may have a fraction."},
    {"bzpopmax", "6.0.0", NULL, "The timeout may have a fraction."},
    {"bzpopmin", "6.0.0", NULL, "The timeout may have a fraction."},
    {"client|kill", "2.8.12", "TYPE", "Filters."},
    {"client|kill", "2.8.12", "ID", "`ID`."},
    {"client|kill", "3.2.0", "MASTER", "The type `master`."},
    {"client|kill", "5.0.0", "REPLICA", "The type `replica`, of which `slave` is the older name."},
    {"client|kill", "6.2.0", "LADDR", "`LADDR`."},
    {"client|kill", "7.4.0", "MAXAGE", "`MAXAGE`."},
    {"client|list", "2.8.12", NULL, "The field `id`."},
    {"client|list", "5.0.0", "TYPE", "`TYPE`."},
    {"client|list", "6.0.0", NULL, "The field `user`."},
    {"client|list", "6.2.0", "ID", "`ID`; the fields `argv-mem`, `tot-mem`, `laddr`, `redir`."},
    {"client|list", "7.0.0", NULL, "The fields `resp`, `multi-mem`, `rbs`, `rbp`."},
    {"client|list", "7.0.3", NULL, "The field `ssub`."},
    {"client|pause", "6.2.0", "mode", "`WRITE` and `ALL`."},
    {"cluster|meet", "4.0.0", "cluster-bus-port", "The port of the bus."},
    {"cluster|slots", "4.0.0", NULL, "Tells the nodes' ids."},
    {"cluster|slots", "7.0.0", NULL, "Tells further names of the nodes."},
    {"command|info", "7.0.0", NULL, "Without names, tells all commands."},
    {"config|get", "7.0.0", NULL, ANY_NUMBER "patterns."},
    {"config|set", "7.0.0", NULL, ANY_NUMBER "options."},
    {"exists", "3.0.3", NULL, ANY_NUMBER "keys."},
    {"expire", "7.0.0", "condition", "`NX`, `XX`, `GT` and `LT`."},
    {"expireat", "7.0.0", "condition", "`NX`, `XX`, `GT` and `LT`."},
    {"flushall", "4.0.0", "ASYNC", "`ASYNC`."},
    {"flushall", "6.2.0", "SYNC", "`SYNC`."},
    {"flushdb", "4.0.0", "ASYNC", "`ASYNC`."},
    {"flushdb", "6.2.0", "SYNC", "`SYNC`."},
    {"geoadd", "6.2.0", "condition CH", "`CH`, `NX` and `XX`."},
    {"georadius", "6.2.0", "ANY", "`ANY` behind `COUNT`."},
    {"georadius", "7.0.0", NULL, "Units may be in capitals."},
    {"georadius_ro", "6.2.0", "ANY", "`ANY` behind `COUNT`."},
    {"georadiusbymember", "7.0.0", NULL, "Units may be in capitals."},
    {"geosearch", "7.0.0", NULL, "Units may be in capitals."},
    {"geosearchstore", "7.0.0", NULL, "Units may be in capitals."},
    {"hdel", "2.4.0", NULL, ANY_NUMBER "fields."},
    {"hello", "6.2.0", NULL, "Without a version, only tells about the connection."},
    {"hscan", "7.4.0", "NOVALUES", "`NOVALUES`."},
    {"hset", "4.0.0", NULL, ANY_NUMBER "fields with values."},
    {"info", "7.0.0", NULL, ANY_NUMBER "sections."},
    {"lpop", "6.2.0", "count", "The count."},
    {"lpush", "2.4.0", NULL, ANY_NUMBER "elements."},
    {"lpushx", "4.0.0", NULL, ANY_NUMBER "elements."},
    {"migrate", "3.0.0", "COPY REPLACE", "`COPY` and `REPLACE`."},
    {"migrate", "3.0.6", "KEYS", "`KEYS`."},
    {"migrate", "4.0.7", "AUTH", "`AUTH`."},
    {"migrate", "6.0.0", "AUTH2", "`AUTH2`."},
    {"pexpire", "7.0.0", "condition", "`NX`, `XX`, `GT` and `LT`."},
    {"pexpireat", "7.0.0", "condition", "`NX`, `XX`, `GT` and `LT`."},
    {"pttl", "2.8.0", NULL, "Answers -2 where there is no key."},
    {"renamenx", "3.2.0", NULL, "Both names may be the same."},
    {"restore", "3.0.0", "REPLACE", "`REPLACE`."},
    {"restore", "5.0.0", "ABSTTL", "`ABSTTL`."},
    {"restore", "5.0.0", "IDLETIME FREQ", "`IDLETIME` and `FREQ`."},
    {"restore-asking", "3.0.0", "REPLACE", "`REPLACE`."},
    {"restore-asking", "5.0.0", "ABSTTL", "`ABSTTL`."},
    {"restore-asking", "5.0.0", "IDLETIME FREQ", "`IDLETIME` and `FREQ`."},
    {"rpop", "6.2.0", "count", "The count."},
    {"rpush", "2.4.0", NULL, ANY_NUMBER "elements."},
    {"rpushx", "4.0.0", NULL, ANY_NUMBER "elements."},
    {"sadd", "2.4.0", NULL, ANY_NUMBER "members."},
    {"scan", "6.0.0", "TYPE", "`TYPE`."},
    {"script|flush", "6.2.0", "flush-type", "`ASYNC` and `SYNC`."},
    {"set", "2.6.12", "condition EX PX", "`EX`, `PX`, `NX` and `XX`."},
    {"set", "6.0.0", "KEEPTTL", "`KEEPTTL`."},
    {"set", "6.2.0", "GET EXAT PXAT", "`GET`, `EXAT` and `PXAT`."},
    {"set", "7.0.0", NULL, "`NX` and `GET` may stand together."},
    {"set", "8.4.0", "IFEQ IFNE IFDEQ IFDNE", "`IFEQ`, `IFNE`, `IFDEQ` and `IFDNE`."},
    {"shutdown", "7.0.0", "NOW FORCE ABORT", "`NOW`, `FORCE` and `ABORT`."},
    {"slowlog|get", "4.0.0", NULL, "Tells the client's address and name."},
    {"spop", "3.2.0", "count", "The count."},
    {"srandmember", "2.6.0", "count", "The count."},
    {"srem", "2.4.0", NULL, ANY_NUMBER "members."},
    {"ttl", "2.8.0", NULL, "Answers -2 where there is no key."},
    {"xadd", "6.2.0", "NOMKSTREAM MINID LIMIT", "`NOMKSTREAM`, `MINID` and `LIMIT`."},
    {"xadd", "7.0.0", NULL, "Ids of the form `<ms>-*`."},
    {"xautoclaim", "7.0.0", NULL, "Tells the ids of messages that were deleted."},
    {"xgroup|create", "7.0.0", NULL, "`ENTRIESREAD`."},
    {"xgroup|setid", "7.0.0", NULL, "`ENTRIESREAD`."},
    {"xinfo|consumers", "7.2.0", NULL, "The field `inactive`."},
    {"xinfo|groups", "7.0.0", NULL, "The fields `entries-read` and `lag`."},
    {"xinfo|stream", "6.0.0", NULL, "`FULL`."},
    {"xinfo|stream", "7.0.0", NULL,
     "The fields `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, "
     "`entries-read` and `lag`."},
    {"xinfo|stream", "7.2.0", NULL, "The field `active-time`; `seen-time` counts every attempt."},
    {"xpending", "6.2.0", "IDLE", "`IDLE`, and ranges without their ends."},
    {"xrange", "6.2.0", NULL, "Ranges without their ends."},
    {"xread", "7.4.0", NULL, "The id `+`."},
    {"xrevrange", "6.2.0", NULL, "Ranges without their ends."},
    {"xsetid", "7.0.0", "ENTRIESADDED MAXDELETEDID", "`ENTRIESADDED` and `MAXDELETEDID`."},
    {"xtrim", "6.2.0", "MINID LIMIT", "`MINID` and `LIMIT`."},
    {"zadd", "2.4.0", NULL, ANY_NUMBER "members with scores."},
    {"zadd", "3.0.2", "condition CH INCR", "`XX`, `NX`, `CH` and `INCR`."},
    {"zadd", "6.2.0", "comparison", "`GT` and `LT`."},
    {"zrange", "6.2.0", "sortby REV LIMIT", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`."},
    {"zrangebyscore", "2.0.0", "WITHSCORES", "`WITHSCORES`."},
    {"zrank", "7.2.0", NULL, "`WITHSCORE`."},
    {"zrem", "2.4.0", NULL, ANY_NUMBER "members."},
    {"zrevrangebyscore", "2.1.6", NULL, "Ranges without their ends."},
    {"zrevrank", "7.2.0", NULL, "`WITHSCORE`."},
};

#define CHANGE_COUNT (sizeof(changes) / sizeof(changes[0]))

const struct command_change *command_changes(const char *full_name, uint32_t *count)
{
    size_t first = 0;
    while (first < CHANGE_COUNT && strcmp(changes[first].command, full_name) != 0)
        first++;
    size_t end = first;
    while (end < CHANGE_COUNT && strcmp(changes[end].command, full_name) == 0)
        end++;
    *count = (uint32_t)(end - first);
    return changes + first;
}

static bool has_word(const char *words, const char *word)
{
    while (*words) {
        size_t size = strcspn(words, " ");
        if (slice_is((struct slice){words, size}, word))
            return true;
        words += size + (words[size] == ' ');
    }
    return false;
}

const char *command_arg_since(const struct command_change *of, uint32_t count,
                              const struct syntax_arg *arg)
{
    const char *word = arg->token ? arg->token : arg->name;
    for (uint32_t i = 0; i < count; i++)
        if (of[i].args && has_word(of[i].args, word))
            return of[i].version;
    return NULL;
}
