/* Users' life: see user.h. */
#include "server/acl/user.h"

#include <ctype.h>

#include "proto/mem.h"

struct slice acl_text_copy(struct slice text)
{
    char *copy = mem_alloc(text.size + 1);
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return (struct slice){copy, text.size};
}

void acl_text_free(struct slice *text)
{
    mem_free((char *)text->data);
    *text = (struct slice){0};
}

bool acl_name_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++)
        if (isspace((unsigned char)name.data[i]) || name.data[i] == '\0')
            return false;
    return true;
}

static size_t bits_size(const struct registry *registry)
{
    return (registry_count(registry) + 63) / 64 * sizeof(uint64_t);
}

struct acl_selector *acl_selector_create(const struct acl_terms *terms)
{
    struct acl_selector *s = mem_alloc_zeroed(sizeof(*s));
    s->allowed = mem_alloc_zeroed(bits_size(terms->registry));
    s->all_channels = terms->all_channels;
    return s;
}

void acl_selector_clear_keys(struct acl_selector *s)
{
    for (uint32_t i = 0; i < s->key_count; i++)
        acl_text_free(&s->keys[i].text);
    mem_free(s->keys);
    s->keys = NULL;
    s->key_count = 0;
}

void acl_selector_clear_channels(struct acl_selector *s)
{
    for (uint32_t i = 0; i < s->channel_count; i++)
        acl_text_free(&s->channels[i]);
    mem_free(s->channels);
    s->channels = NULL;
    s->channel_count = 0;
}

static void clear_command_rules(struct acl_selector *s)
{
    for (uint32_t i = 0; i < s->rule_count; i++)
        acl_text_free(&s->rules[i].text);
    for (uint32_t i = 0; i < s->first_arg_count; i++)
        acl_text_free(&s->first_args[i].text);
    mem_free(s->rules);
    mem_free(s->first_args);
    s->rules = NULL;
    s->first_args = NULL;
    s->rule_count = s->first_arg_count = 0;
}

void acl_selector_clear_commands(struct acl_selector *s, const struct registry *registry,
                                 bool allow)
{
    clear_command_rules(s);
    s->all_commands = s->from_all = allow;
    memset(s->allowed, allow ? 0xff : 0, bits_size(registry));
}

void acl_selector_destroy(struct acl_selector *s)
{
    acl_selector_clear_keys(s);
    acl_selector_clear_channels(s);
    clear_command_rules(s);
    mem_free(s->allowed);
    mem_free(s);
}

static void copy_patterns(struct acl_selector *to, const struct acl_selector *from)
{
    if (from->key_count)
        to->keys = mem_alloc(from->key_count * sizeof(*to->keys));
    for (uint32_t i = 0; i < from->key_count; i++)
        to->keys[i] =
            (struct acl_key_pattern){acl_text_copy(from->keys[i].text), from->keys[i].may};
    if (from->channel_count)
        to->channels = mem_alloc(from->channel_count * sizeof(*to->channels));
    for (uint32_t i = 0; i < from->channel_count; i++)
        to->channels[i] = acl_text_copy(from->channels[i]);
}

static void copy_command_rules(struct acl_selector *to, const struct acl_selector *from)
{
    if (from->first_arg_count)
        to->first_args = mem_alloc(from->first_arg_count * sizeof(*to->first_args));
    for (uint32_t i = 0; i < from->first_arg_count; i++)
        to->first_args[i] = (struct acl_first_arg){from->first_args[i].command,
                                                   acl_text_copy(from->first_args[i].text)};
    if (from->rule_count)
        to->rules = mem_alloc(from->rule_count * sizeof(*to->rules));
    for (uint32_t i = 0; i < from->rule_count; i++)
        to->rules[i] = (struct acl_command_rule){from->rules[i].allows,
                                                 acl_text_copy(from->rules[i].text)};
}

static struct acl_selector *copy_selector(const struct acl_selector *from,
                                          const struct registry *registry)
{
    struct acl_selector *to = mem_alloc(sizeof(*to));
    *to = *from;
    to->allowed = mem_alloc(bits_size(registry));
    memcpy(to->allowed, from->allowed, bits_size(registry));
    to->keys = NULL;
    to->channels = NULL;
    to->first_args = NULL;
    to->rules = NULL;
    copy_patterns(to, from);
    copy_command_rules(to, from);
    return to;
}

struct acl_user *acl_user_create(const struct acl_terms *terms, struct slice name)
{
    struct acl_user *u = mem_alloc_zeroed(sizeof(*u));
    u->name = acl_text_copy(name);
    u->registry = terms->registry;
    u->selectors = mem_alloc(sizeof(*u->selectors));
    u->selectors[0] = acl_selector_create(terms);
    u->selector_count = 1;
    return u;
}

struct acl_user *acl_user_create_default(const struct acl_terms *terms)
{
    struct acl_user *u = acl_user_create(terms, SLICE("default"));
    struct acl_selector *root = u->selectors[0];
    acl_selector_clear_commands(root, terms->registry, true);
    root->all_keys = root->all_channels = true;
    u->enabled = u->no_password = true;
    acl_user_settle(u);
    return u;
}

static void drop_rules(struct acl_user *u)
{
    for (uint32_t i = 0; i < u->selector_count; i++)
        acl_selector_destroy(u->selectors[i]);
    mem_free(u->selectors);
    mem_free(u->hashes);
}

void acl_user_destroy(struct acl_user *u)
{
    drop_rules(u);
    acl_text_free(&u->name);
    mem_free(u);
}

struct acl_user *acl_user_copy(const struct acl_user *u, struct slice name)
{
    struct acl_user *copy = mem_alloc(sizeof(*copy));
    *copy = *u;
    copy->name = acl_text_copy(name);
    copy->selectors = mem_alloc(u->selector_count * sizeof(*copy->selectors));
    for (uint32_t i = 0; i < u->selector_count; i++)
        copy->selectors[i] = copy_selector(u->selectors[i], u->registry);
    copy->hashes = NULL;
    if (u->hash_count) {
        copy->hashes = mem_alloc(u->hash_count * sizeof(*copy->hashes));
        memcpy(copy->hashes, u->hashes, u->hash_count * sizeof(*copy->hashes));
    }
    return copy;
}

void acl_user_take(struct acl_user *to, struct acl_user *from)
{
    struct slice name = to->name;
    drop_rules(to);
    *to = *from;
    to->name = name;
    acl_text_free(&from->name);
    mem_free(from);
}
