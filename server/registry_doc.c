/* docs/commands.md: the rows as tables by group, in Markdown. Groups and commands stand in the
 * order of the alphabet, so that the page does not depend on the order of tables. */
#include <ctype.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "server/registry.h"

static const char introduction[] =
    "# Commands\n"
    "\n"
    "Made from the server's command rows by `scripts/commands`; do not edit.\n"
    "\n"
    "*Runs on* says which shards take part when the server has several. The outcome is the\n"
    "same for all of them: each command is atomic, and a connection's pipeline takes effect in\n"
    "the order sent.\n"
    "\n"
    "| runs on | meaning |\n"
    "| --- | --- |\n"
    "| no shard | answered by the core that the client is connected to |\n"
    "| one shard | the shard that owns the key |\n"
    "| split | each shard that owns one of the keys does its part, in parallel |\n"
    "| all shards | every shard does its part, in parallel |\n"
    "| cross | the shards that own the keys wait for each other; one runs the command |\n"
    "| cross, all shards | every shard waits while one runs the command |\n";

/* By group, then by name, a container before its subcommands. */
static int compare_rows(const void *a, const void *b)
{
    const struct command *x = *(const struct command *const *)a;
    const struct command *y = *(const struct command *const *)b;
    int order = strcmp(x->group, y->group);
    return order ? order : strcmp(x->full_name, y->full_name);
}

static const char *runs_on(const struct command *row)
{
    if (row->flags & CMD_CURSOR)
        return "one shard, or cross";
    switch (row->route) {
    case ROUTE_KEY:
        return "one shard";
    case ROUTE_SPLIT:
        return "split";
    case ROUTE_ALL:
        return "all shards";
    case ROUTE_CROSS:
        return row->flags & CMD_EVERY_SHARD ? "cross, all shards" : "cross";
    default:
        return "no shard";
    }
}

/* Text within a table's cell, where a bar would end the cell. */
static void write_cell(struct buf *to, const char *text, bool upper)
{
    for (const char *c = text; *c; c++) {
        if (*c == '|')
            buf_append_text(to, "\\");
        char shown = upper ? (char)toupper((unsigned char)*c) : *c;
        buf_append(to, &shown, 1);
    }
}

static void write_row(struct buf *to, const struct command *row)
{
    buf_append_text(to, "| `");
    if (row->parent) {
        write_cell(to, row->parent->name, true);
        buf_append_text(to, " ");
    }
    write_cell(to, row->name, true);
    buf_append_text(to, "` | ");
    if (row->syntax && *row->syntax) {
        buf_append_text(to, "`");
        write_cell(to, row->syntax, false);
        buf_append_text(to, "`");
    }
    buf_printf(to, " | %s | ", runs_on(row));
    write_cell(to, row->complexity ? row->complexity : "", false);
    buf_printf(to, " | %s |\n", row->since ? row->since : "");
}

/* "sorted-set" as "Sorted set". */
static void write_heading(struct buf *to, const char *group)
{
    buf_append_text(to, "\n## ");
    for (const char *c = group; *c; c++) {
        char shown = c == group ? (char)toupper((unsigned char)*c) : *c == '-' ? ' ' : *c;
        buf_append(to, &shown, 1);
    }
    buf_append_text(to, "\n\n"
                        "| command | arguments | runs on | complexity | since |\n"
                        "| --- | --- | --- | --- | --- |\n");
}

void registry_write_documentation(const struct registry *r, struct buf *to)
{
    uint32_t count = 0;
    const struct command **rows = mem_alloc((registry_count(r) + 1) * sizeof(*rows));
    /* A container that does nothing itself shows by its subcommands. */
    for (uint32_t id = 0; id < registry_count(r); id++)
        if (registry_at(r, id)->run)
            rows[count++] = registry_at(r, id);
    qsort(rows, count, sizeof(*rows), compare_rows);
    buf_append_text(to, introduction);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(rows[i]->group, rows[i - 1]->group) != 0)
            write_heading(to, rows[i]->group);
        write_row(to, rows[i]);
    }
    mem_free(rows);
}
