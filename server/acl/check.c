/* What a user may do: see user.h. */
#include <assert.h>

#include "proto/glob.h"
#include "proto/mem.h"
#include "server/acl/user.h"

/* Keys of one request that are kept on the stack. */
#define FEW_KEYS 32

void acl_user_settle(struct acl_user *u)
{
    u->unlimited = false;
    for (uint32_t i = 0; i < u->selector_count; i++) {
        const struct acl_selector *s = u->selectors[i];
        u->unlimited |= s->all_commands && s->all_keys && s->all_channels;
    }
}

/* A request's keys, found when a selector first asks. */
struct request_keys {
    const struct command *row;
    const struct slice *argv;
    uint32_t argc;
    int64_t count; /* below 0: not looked for */
    struct command_key *keys;
    struct command_key few[FEW_KEYS];
};

/* Arguments that do not fit the key specs name no key: the command refuses them. */
static void find_keys(struct request_keys *k)
{
    if (k->count >= 0)
        return;
    k->keys = k->few;
    k->count = command_keys(k->row, k->argv, k->argc, k->few, FEW_KEYS);
    if (k->count < 0)
        k->count = 0;
    if (k->count <= FEW_KEYS)
        return;
    k->keys = mem_alloc((size_t)k->count * sizeof(*k->keys));
    command_keys(k->row, k->argv, k->argc, k->keys, (uint32_t)k->count);
}

static void free_keys(struct request_keys *k)
{
    if (k->count > FEW_KEYS)
        mem_free(k->keys);
}

static bool permits_command(const struct acl_selector *s, const struct request_keys *k)
{
    const struct command *row = k->row;
    if (s->all_commands || row->flags & CMD_NO_AUTH ||
        s->allowed[row->id / 64] >> (row->id % 64) & 1)
        return true;
    for (uint32_t i = 0; k->argc > 1 && i < s->first_arg_count; i++)
        if (s->first_args[i].command == row->id &&
            slice_is(k->argv[1], s->first_args[i].text.data))
            return true;
    return false;
}

/* Whether a key's data are read or changed. A look at whether it exists is neither: any pattern
 * permits that. */
static uint32_t access_of(uint32_t flags)
{
    return (flags & KEY_ACCESS ? ACL_MAY_READ : 0) |
           (flags & (KEY_INSERT | KEY_DELETE | KEY_UPDATE) ? ACL_MAY_WRITE : 0);
}

static bool permits_key(const struct acl_selector *s, struct slice key, uint32_t flags)
{
    uint32_t needs = access_of(flags);
    for (uint32_t i = 0; i < s->key_count; i++)
        if ((s->keys[i].may & needs) == needs && glob_match(s->keys[i].text, key, false))
            return true;
    return false;
}

bool acl_channel_matches(const struct slice *channels, uint32_t count, struct slice channel,
                         bool pattern)
{
    for (uint32_t i = 0; i < count; i++)
        if (pattern ? slice_equal(channels[i], channel) : glob_match(channels[i], channel, false))
            return true;
    return false;
}

/* The arguments that are channels to be heard or told: first to end. */
struct channel_args {
    uint32_t first, end;
    bool patterns;
};

static struct channel_args channels_of(const struct command *row, uint32_t argc)
{
    static const struct {
        const char *name;
        bool one, patterns;
    } commands[] = {
        {"publish", true, false}, {"spublish", true, false}, {"subscribe", false, false},
        {"ssubscribe", false, false}, {"psubscribe", false, true},
    };
    if (row->flags & CMD_PUBSUB && !row->parent)
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
            if (strcmp(row->name, commands[i].name) == 0)
                return (struct channel_args){1, commands[i].one && argc > 2 ? 2 : argc,
                                             commands[i].patterns};
    return (struct channel_args){0, 0, false};
}

static enum acl_verdict check_selector(const struct acl_selector *s, struct request_keys *k,
                                       uint32_t *arg)
{
    *arg = 0;
    if (!permits_command(s, k))
        return ACL_DENIED_COMMAND;
    if (!s->all_keys) {
        find_keys(k);
        for (int64_t i = 0; i < k->count; i++)
            if (!permits_key(s, k->argv[k->keys[i].arg], k->keys[i].flags)) {
                *arg = k->keys[i].arg;
                return ACL_DENIED_KEY;
            }
    }
    if (s->all_channels)
        return ACL_PERMITTED;
    struct channel_args c = channels_of(k->row, k->argc);
    for (uint32_t i = c.first; i < c.end; i++)
        if (!acl_channel_matches(s->channels, s->channel_count, k->argv[i], c.patterns)) {
            *arg = i;
            return ACL_DENIED_CHANNEL;
        }
    return ACL_PERMITTED;
}

/* Of what the selectors say, what came closest to a permission is told: a channel or key rather
 * than the command, and of those the last. */
enum acl_verdict acl_user_check(const struct acl_user *u, const struct command *row,
                                const struct slice *argv, uint32_t argc, uint32_t *arg)
{
    struct request_keys k;
    k.row = row;
    k.argv = argv;
    k.argc = argc;
    k.count = -1;
    enum acl_verdict worst = ACL_DENIED_COMMAND;
    *arg = 0;
    for (uint32_t i = 0; i < u->selector_count; i++) {
        uint32_t at;
        enum acl_verdict verdict = check_selector(u->selectors[i], &k, &at);
        if (verdict == ACL_PERMITTED) {
            worst = ACL_PERMITTED;
            break;
        }
        if (verdict > worst || (verdict == worst && at > *arg)) {
            worst = verdict;
            *arg = at;
        }
    }
    free_keys(&k);
    return worst;
}

static bool reads_all_keys(const struct acl_selector *s)
{
    for (uint32_t i = 0; i < s->key_count && !s->all_keys; i++)
        if (s->keys[i].may & ACL_MAY_READ && slice_equal(s->keys[i].text, SLICE("*")))
            return true;
    return s->all_keys;
}

bool acl_user_reads_all(const struct acl_user *u, const struct command *row,
                        const struct slice *argv, uint32_t argc)
{
    struct request_keys k;
    k.row = row;
    k.argv = argv;
    k.argc = argc;
    k.count = -1;
    bool found = false;
    uint32_t at;
    for (uint32_t i = 0; i < u->selector_count && !found; i++)
        found = reads_all_keys(u->selectors[i]) &&
                check_selector(u->selectors[i], &k, &at) == ACL_PERMITTED;
    free_keys(&k);
    return found;
}
