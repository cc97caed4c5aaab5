/* One rule put in force: see user.h. What a rule's words mean stands in Redis's documentation on
 * ACL; what is told apart here beyond that is how Redis 7.2 refuses, and how it keeps the rules on
 * commands so that they can be shown: in the order given, a newer rule on the same command or
 * category in place of an older one, and a rule on a command in place of those on its
 * subcommands. */
#include "server/acl/user.h"

#include <ctype.h>

#include "proto/mem.h"
#include "server/command_reply.h"
#include "server/config_option.h"

const char *acl_fault_text(enum acl_fault fault)
{
    switch (fault) {
    case ACL_FINE:
        break;
    case ACL_UNKNOWN:
        return "Unknown command or category name in ACL";
    case ACL_SYNTAX:
        return "Syntax error";
    case ACL_KEYS_AFTER_ALL:
        return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does "
               "not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    case ACL_CHANNELS_AFTER_ALL:
        return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and "
               "does not have any effect. Try 'resetchannels' to start with an empty list of "
               "channels";
    case ACL_NO_SUCH_PASSWORD:
        return "The password you are trying to remove from the user does not exist";
    case ACL_BAD_HASH:
        return "The password hash must be exactly 64 characters and contain only lowercase "
               "hexadecimal characters";
    case ACL_DUPLICATE:
        return "Duplicate user found. A user can only be defined once in config files";
    case ACL_ARG_OF_SUBCOMMAND:
        return "Allowing first-arg of a subcommand is not supported";
    }
    return "Wrong format";
}

static struct slice rest_of(struct slice s, size_t from)
{
    return (struct slice){s.data + from, s.size - from};
}

/* --- Commands --- */

/* By its proper name, whatever rename-command has made of that for clients: rules stay what they
 * are when names change. */
static const struct command *find_command(const struct registry *registry, struct slice name)
{
    const struct command *row = registry_find_full(registry, name);
    if (row && slice_is(name, row->full_name))
        return row;
    for (uint32_t id = 0; id < registry_count(registry); id++)
        if (slice_is(name, registry_at(registry, id)->full_name))
            return registry_at(registry, id);
    return NULL;
}

static void set_bit(struct acl_selector *s, const struct command *row, bool allow)
{
    uint64_t bit = UINT64_C(1) << (row->id % 64);
    if (allow) {
        s->allowed[row->id / 64] |= bit;
    } else {
        s->allowed[row->id / 64] &= ~bit;
        s->all_commands = false;
    }
}

static void drop_first_args(struct acl_selector *s, uint16_t command)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->first_arg_count; i++) {
        if (s->first_args[i].command == command)
            acl_text_free(&s->first_args[i].text);
        else
            s->first_args[kept++] = s->first_args[i];
    }
    s->first_arg_count = kept;
}

/* A command, with all its subcommands. */
static void change_command(struct acl_selector *s, const struct registry *registry,
                           const struct command *row, bool allow)
{
    set_bit(s, row, allow);
    drop_first_args(s, row->id);
    for (uint32_t id = 0; row->subcommand_count && id < registry_count(registry); id++)
        if (registry_at(registry, id)->parent == row)
            set_bit(s, registry_at(registry, id), allow);
}

/* True where a newer rule stands for an older one too. */
static bool covers(struct slice newer, struct slice older)
{
    return older.size >= newer.size && memcmp(older.data, newer.data, newer.size) == 0 &&
           (older.size == newer.size || older.data[newer.size] == '|');
}

static void note_rule(struct acl_selector *s, struct slice text, bool allow)
{
    struct slice own = acl_text_copy(text);
    for (size_t i = 0; i < own.size; i++)
        ((char *)own.data)[i] = (char)tolower((unsigned char)own.data[i]);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        if (covers(own, s->rules[i].text))
            acl_text_free(&s->rules[i].text);
        else
            s->rules[kept++] = s->rules[i];
    }
    s->rules = mem_realloc(s->rules, (kept + 1) * sizeof(*s->rules));
    s->rules[kept] = (struct acl_command_rule){allow, own};
    s->rule_count = kept + 1;
}

/* First commands, then subcommands, so that what a rule says of these themselves counts. */
static enum acl_fault change_category(struct acl_selector *s, const struct registry *registry,
                                      struct slice name, bool allow)
{
    uint32_t category = command_category(rest_of(name, 1));
    if (!category)
        return ACL_UNKNOWN;
    note_rule(s, name, allow);
    for (int below = 0; below <= 1; below++)
        for (uint32_t id = 0; id < registry_count(registry); id++) {
            const struct command *row = registry_at(registry, id);
            if ((row->parent != NULL) == below && row->acl & category)
                change_command(s, registry, row, allow);
        }
    return ACL_FINE;
}

static void add_first_arg(struct acl_selector *s, uint16_t command, struct slice arg)
{
    for (uint32_t i = 0; i < s->first_arg_count; i++)
        if (s->first_args[i].command == command && slice_is(arg, s->first_args[i].text.data))
            return;
    s->first_args =
        mem_realloc(s->first_args, (s->first_arg_count + 1) * sizeof(*s->first_args));
    s->first_args[s->first_arg_count++] = (struct acl_first_arg){command, acl_text_copy(arg)};
}

/* `+command|word`: a subcommand, or of a command without any the one first argument it may have. */
static enum acl_fault allow_part(struct acl_selector *s, const struct registry *registry,
                                 struct slice name, size_t bar)
{
    struct slice word = rest_of(name, bar + 1);
    const struct command *row = find_command(registry, (struct slice){name.data, bar});
    if (!row)
        return ACL_UNKNOWN;
    if (row->parent)
        return ACL_ARG_OF_SUBCOMMAND;
    if (word.size == 0 || !acl_name_valid(word))
        return ACL_SYNTAX;
    if (row->subcommand_count) {
        row = find_command(registry, name);
        if (!row)
            return ACL_UNKNOWN;
        change_command(s, registry, row, true);
    } else {
        add_first_arg(s, row->id, word);
    }
    note_rule(s, name, true);
    return ACL_FINE;
}

static enum acl_fault change_commands(struct acl_selector *s, const struct registry *registry,
                                      struct slice rule)
{
    bool allow = rule.data[0] == '+';
    struct slice name = rest_of(rule, 1);
    if (name.size && name.data[0] == '@')
        return change_category(s, registry, name, allow);
    const char *bar = name.size ? memrchr(name.data, '|', name.size) : NULL;
    if (allow && bar)
        return allow_part(s, registry, name, (size_t)(bar - name.data));
    const struct command *row = find_command(registry, name);
    if (!row)
        return ACL_UNKNOWN;
    change_command(s, registry, row, allow);
    note_rule(s, slice_of(row->full_name), allow);
    return ACL_FINE;
}

/* --- Keys and channels --- */

/* The part before '~': "%R", "%W", "%RW" in any order. Returns where the pattern begins, or 0. */
static size_t read_access(struct slice rule, uint32_t *may)
{
    size_t i = 1;
    *may = 0;
    for (; i < rule.size && rule.data[i] != '~'; i++) {
        int letter = toupper((unsigned char)rule.data[i]);
        uint32_t bit = letter == 'R' ? ACL_MAY_READ : letter == 'W' ? ACL_MAY_WRITE : 0;
        if (bit == 0 || *may & bit)
            return 0;
        *may |= bit;
    }
    if (*may == 0)
        return 0;
    return i < rule.size ? i + 1 : i;
}

static enum acl_fault add_key_pattern(struct acl_selector *s, struct slice rule)
{
    uint32_t may = ACL_MAY_READ | ACL_MAY_WRITE;
    if (s->all_keys)
        return ACL_KEYS_AFTER_ALL;
    size_t begin = rule.data[0] == '%' ? read_access(rule, &may) : 1;
    struct slice pattern = rest_of(rule, begin);
    if (begin == 0 || !acl_name_valid(pattern))
        return ACL_SYNTAX;
    for (uint32_t i = 0; i < s->key_count; i++)
        if (slice_equal(s->keys[i].text, pattern)) {
            s->keys[i].may |= may;
            return ACL_FINE;
        }
    s->keys = mem_realloc(s->keys, (s->key_count + 1) * sizeof(*s->keys));
    s->keys[s->key_count++] = (struct acl_key_pattern){acl_text_copy(pattern), may};
    return ACL_FINE;
}

static enum acl_fault add_channel(struct acl_selector *s, struct slice pattern)
{
    if (s->all_channels)
        return ACL_CHANNELS_AFTER_ALL;
    if (!acl_name_valid(pattern))
        return ACL_SYNTAX;
    for (uint32_t i = 0; i < s->channel_count; i++)
        if (slice_equal(s->channels[i], pattern))
            return ACL_FINE;
    s->channels = mem_realloc(s->channels, (s->channel_count + 1) * sizeof(*s->channels));
    s->channels[s->channel_count++] = acl_text_copy(pattern);
    return ACL_FINE;
}

static void set_keys(struct acl_selector *s, bool all)
{
    s->all_keys = all;
    acl_selector_clear_keys(s);
}

static void set_channels(struct acl_selector *s, bool all)
{
    s->all_channels = all;
    acl_selector_clear_channels(s);
}

static enum acl_fault selector_rule(struct acl_selector *s, const struct acl_terms *terms,
                                    struct slice rule)
{
    const struct registry *registry = terms->registry;
    if (slice_is(rule, "allkeys") || slice_is(rule, "~*"))
        set_keys(s, true);
    else if (slice_is(rule, "resetkeys"))
        set_keys(s, false);
    else if (slice_is(rule, "allchannels") || slice_is(rule, "&*"))
        set_channels(s, true);
    else if (slice_is(rule, "resetchannels"))
        set_channels(s, false);
    else if (slice_is(rule, "allcommands") || slice_is(rule, "+@all"))
        acl_selector_clear_commands(s, registry, true);
    else if (slice_is(rule, "nocommands") || slice_is(rule, "-@all"))
        acl_selector_clear_commands(s, registry, false);
    else if (rule.size && (rule.data[0] == '~' || rule.data[0] == '%'))
        return add_key_pattern(s, rule);
    else if (rule.size && rule.data[0] == '&')
        return add_channel(s, rest_of(rule, 1));
    else if (rule.size && (rule.data[0] == '+' || rule.data[0] == '-'))
        return change_commands(s, registry, rule);
    else
        return ACL_SYNTAX;
    return ACL_FINE;
}

/* --- Users --- */

static bool read_hash(struct slice text, unsigned char to[ACL_HASH_SIZE])
{
    if (text.size != ACL_HASH_TEXT_SIZE)
        return false;
    static const char digits[] = "0123456789abcdef";
    memset(to, 0, ACL_HASH_SIZE);
    for (size_t i = 0; i < text.size; i++) {
        const char *digit = memchr(digits, text.data[i], sizeof(digits) - 1);
        if (!digit)
            return false;
        to[i / 2] = (unsigned char)(to[i / 2] << 4 | (digit - digits));
    }
    return true;
}

static enum acl_fault change_password(struct acl_user *u, struct slice rule)
{
    unsigned char hash[ACL_HASH_SIZE];
    bool hashed = rule.data[0] == '#' || rule.data[0] == '!';
    bool adds = rule.data[0] == '#' || rule.data[0] == '>';
    if (!hashed)
        acl_hash(rest_of(rule, 1), hash);
    else if (!read_hash(rest_of(rule, 1), hash))
        return ACL_BAD_HASH;
    uint32_t at = 0;
    while (at < u->hash_count && memcmp(u->hashes[at], hash, ACL_HASH_SIZE) != 0)
        at++;
    bool known = at < u->hash_count;
    if (!adds && !known)
        return ACL_NO_SUCH_PASSWORD;
    if (!adds) {
        u->hash_count--;
        memmove(u->hashes[at], u->hashes[at + 1], (u->hash_count - at) * sizeof(*u->hashes));
        return ACL_FINE;
    }
    if (!known) {
        u->hashes = mem_realloc(u->hashes, (u->hash_count + 1) * sizeof(*u->hashes));
        memcpy(u->hashes[u->hash_count++], hash, ACL_HASH_SIZE);
    }
    u->no_password = false;
    return ACL_FINE;
}

static void drop_passwords(struct acl_user *u, bool none_needed)
{
    u->no_password = none_needed;
    u->hash_count = 0;
}

static void drop_selectors(struct acl_user *u)
{
    while (u->selector_count > 1)
        acl_selector_destroy(u->selectors[--u->selector_count]);
}

/* Where rules are read again, a word that ends so would end the selector. */
static bool seems_to_close(struct slice word)
{
    return word.size && word.data[word.size - 1] == ')';
}

static enum acl_fault add_selector(struct acl_user *u, const struct acl_terms *terms,
                                   struct slice rule)
{
    struct config_words words;
    struct slice inside = {rule.data + 1, rule.size - 2};
    if (!config_words_split(&words, inside))
        return ACL_SYNTAX;
    struct acl_selector *s = acl_selector_create(terms);
    enum acl_fault fault = ACL_FINE;
    for (uint32_t i = 0; i < words.count && fault == ACL_FINE; i++)
        fault = seems_to_close(words.items[i]) ? ACL_SYNTAX
                                               : selector_rule(s, terms, words.items[i]);
    config_words_deinit(&words);
    if (fault != ACL_FINE) {
        acl_selector_destroy(s);
        return fault;
    }
    u->selectors = mem_realloc(u->selectors, (u->selector_count + 1) * sizeof(*u->selectors));
    u->selectors[u->selector_count++] = s;
    return ACL_FINE;
}

/* As it was when it was made. */
static void reset(struct acl_user *u, const struct acl_terms *terms)
{
    struct acl_selector *root = u->selectors[0];
    drop_passwords(u, false);
    drop_selectors(u);
    set_keys(root, false);
    set_channels(root, terms->all_channels);
    acl_selector_clear_commands(root, terms->registry, false);
    u->enabled = u->skip_sanitize = false;
}

enum acl_fault acl_user_rule(struct acl_user *u, const struct acl_terms *terms, struct slice rule)
{
    if (rule.size == 0)
        return ACL_FINE;
    bool on = slice_is(rule, "on"), skip = slice_is(rule, "skip-sanitize-payload");
    if (on || slice_is(rule, "off"))
        u->enabled = on;
    else if (skip || slice_is(rule, "sanitize-payload"))
        u->skip_sanitize = skip;
    else if (slice_is(rule, "nopass"))
        drop_passwords(u, true);
    else if (slice_is(rule, "resetpass"))
        drop_passwords(u, false);
    else if (memchr("><#!", rule.data[0], 4))
        return change_password(u, rule);
    else if (rule.data[0] == '(' && rule.size > 1 && rule.data[rule.size - 1] == ')')
        return add_selector(u, terms, rule);
    else if (slice_is(rule, "clearselectors"))
        drop_selectors(u);
    else if (slice_is(rule, "reset"))
        reset(u, terms);
    else
        return selector_rule(u->selectors[0], terms, rule);
    return ACL_FINE;
}
