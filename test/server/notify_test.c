/* Every command that writes has a case in notify_cases.h, and one that notifies: what is exempt is
 * named here. */
#include <criterion/criterion.h>
#include <string.h>
#include <strings.h>

#include "server/registry.h"
#include "test/shard/notify_cases.h"

/* They change keys, or may, and tell nobody, as in Redis: whole databases go without a word, and
 * an acknowledgement is a matter between a group and its consumer. */
static const char *const silent[] = {"flushall", "flushdb", "swapdb", "pfdebug", "xack"};
/* They write, if at all, by other commands, or no keys. */
static const char *const elsewhere[] = {"eval", "evalsha", "fcall", "function|delete",
                                        "function|flush", "function|load", "function|restore"};

/* They take bytes that no line of a case can hold, or a second server: test_restore.py has them. */
static const char *const apart[] = {"migrate", "restore", "restore-asking"};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}
#define IS_ONE_OF(name, names) is_one_of(name, names, sizeof(names) / sizeof(names[0]))

/* Whether the case runs the command: "xgroup create k ..." runs "xgroup|create". */
static bool runs(const struct notify_case *n, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < size; i++)
        if (n->command[i] != (name[i] == '|' ? ' ' : name[i]))
            return false;
    return n->command[size] == ' ' || n->command[size] == '\0';
}

static bool only_misses(const char *events)
{
    for (; *events; events += strcspn(events, ","), events += *events == ',')
        if (strncmp(events, "keymiss ", 8) != 0)
            return false;
    return true;
}

Test(notify, every_command_that_writes_has_a_case)
{
    struct registry *r = registry_create();
    for (uint32_t i = 0; i < registry_count(r); i++) {
        const struct command *row = registry_at(r, i);
        if (!(row->flags & CMD_WRITE) || row->subcommands ||
            IS_ONE_OF(row->full_name, elsewhere) || IS_ONE_OF(row->full_name, apart))
            continue;
        bool tried = false, notifies = false;
        for (size_t n = 0; n < NOTIFY_CASES; n++) {
            if (!runs(&notify_cases[n], row->full_name))
                continue;
            tried = true;
            notifies |= !only_misses(notify_cases[n].events);
        }
        cr_expect(tried, "'%s' writes: say in notify_cases.h what it notifies of",
                  row->full_name);
        cr_expect_eq(notifies, !IS_ONE_OF(row->full_name, silent),
                     "'%s' %s", row->full_name,
                     notifies ? "is said to be silent" : "writes and notifies of nothing");
    }
    registry_destroy(r);
}
