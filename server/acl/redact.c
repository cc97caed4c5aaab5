/* Arguments that nobody is to read in a log: passwords, and rules that may hold some. */
#include "server/acl.h"

static bool redacts_config_set(const struct slice *argv, uint32_t arg)
{
    return arg >= 3 && arg % 2 && config_is_secret(argv[arg - 1]);
}

/* HELLO [protocol [AUTH user password] ...] and MIGRATE ... [AUTH password | AUTH2 user password].
 * What follows such a word is hidden even where it is another option's: it may be a mistake in the
 * order of a request that has a password in it. */
static bool follows(const struct slice *argv, uint32_t arg, const char *word, uint32_t from,
                    uint32_t count)
{
    for (uint32_t back = 1; back <= count; back++)
        if (arg >= from + back && slice_is(argv[arg - back], word))
            return true;
    return false;
}

bool acl_redacts(const struct command *row, const struct slice *argv, uint32_t argc, uint32_t arg)
{
    if (arg == 0 || arg >= argc)
        return false;
    const char *name = row->full_name;
    if (strcmp(name, "auth") == 0)
        return true;
    if (strcmp(name, "hello") == 0)
        return follows(argv, arg, "auth", 2, 2);
    if (strcmp(name, "acl|setuser") == 0)
        return arg >= 2;
    if (strcmp(name, "config|set") == 0)
        return redacts_config_set(argv, arg);
    if (strcmp(name, "migrate") == 0)
        return follows(argv, arg, "auth", 6, 1) || follows(argv, arg, "auth2", 6, 2);
    return false;
}
