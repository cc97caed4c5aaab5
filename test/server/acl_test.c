/* Users: the language of rules, its descriptions, and what is permitted, held to a simple model. */
#include "server/acl/user.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/glob.h"
#include "proto/mem.h"
#include "server/acl.h"
#include "server/registry.h"

static struct registry *registry;
static struct acl_terms terms;

static void start(void)
{
    registry = registry_create();
    terms = (struct acl_terms){.registry = registry};
}

static void end(void)
{
    registry_destroy(registry);
}

TestSuite(acl, .init = start, .fini = end);

static struct acl_user *make(void)
{
    return acl_user_create(&terms, SLICE("u"));
}

/* Applies rules divided by blanks; the last one's fault. */
static enum acl_fault apply(struct acl_user *u, const char *rules)
{
    enum acl_fault fault = ACL_FINE;
    char *copy = strdup(rules), *rest = copy, *rule;
    while (fault == ACL_FINE && (rule = strsep(&rest, ";")))
        fault = acl_user_rule(u, &terms, slice_of(rule));
    free(copy);
    return fault;
}

static void expect_described(const struct acl_user *u, const char *wanted)
{
    struct buf text;
    buf_init(&text);
    acl_describe(u, &text);
    buf_append(&text, "", 1);
    cr_expect_str_eq(text.data, wanted);
    buf_deinit(&text);
}

static void expect_rules(const char *rules, const char *wanted)
{
    struct acl_user *u = make();
    cr_expect_eq(apply(u, rules), ACL_FINE, "%s", rules);
    expect_described(u, wanted);
    acl_user_destroy(u);
}

static void expect_fault(const char *rules, enum acl_fault wanted)
{
    struct acl_user *u = make();
    enum acl_fault fault = apply(u, rules);
    cr_expect_eq(fault, wanted, "%s: %s", rules, acl_fault_text(fault));
    acl_user_destroy(u);
}

#define NONE "off sanitize-payload resetchannels -@all"

Test(acl, a_user_begins_with_nothing)
{
    expect_rules("", NONE);
    expect_rules("on;nopass;~*;&*;+@all;(~a);reset", NONE);
}

Test(acl, rules_are_described_in_their_order)
{
    expect_rules("+get;+@hash;-hset;+GET", NONE " +@hash -hset +get");
    expect_rules("+config|get;+config", NONE " +config");
    expect_rules("+config;-config|set;+config|get", NONE " +config -config|set +config|get");
    expect_rules("+get;+@all;-@dangerous",
                 "off sanitize-payload resetchannels +@all -@dangerous");
    expect_rules("+select|1;+SELECT|0;+select|1", NONE " +select|0 +select|1");
    expect_rules("+select|1;-select", NONE " -select");
}

Test(acl, patterns_are_described_with_their_access)
{
    expect_rules("~a;%R~b;%w~c;%RW~d;%R~c;~a", "off sanitize-payload ~a %R~b ~c ~d resetchannels "
                                               "-@all");
    expect_rules("&a;&b;&a", "off sanitize-payload resetchannels &a &b -@all");
    expect_rules("~a;allkeys", "off sanitize-payload ~* resetchannels -@all");
    expect_rules("%R~*", "off sanitize-payload %R~* resetchannels -@all");
}

Test(acl, selectors_are_described_behind_the_root)
{
    expect_rules("(~a +get);+set;( %R~b  &c )",
                 NONE " +set (~a resetchannels -@all +get) (%R~b resetchannels &c -@all)");
    expect_rules("(~a);clearselectors", NONE);
}

Test(acl, mistakes_are_told_apart)
{
    expect_fault("bogus", ACL_SYNTAX);
    expect_fault("(~a) ~b)", ACL_SYNTAX);
    expect_fault("+nosuch", ACL_UNKNOWN);
    expect_fault("-nosuch", ACL_UNKNOWN);
    expect_fault("+@nosuch", ACL_UNKNOWN);
    expect_fault("+config|nosuch", ACL_UNKNOWN);
    expect_fault("-select|0", ACL_UNKNOWN);
    expect_fault("+config|get|x", ACL_ARG_OF_SUBCOMMAND);
    expect_fault("+select|", ACL_SYNTAX);
    expect_fault("+select|0 1", ACL_SYNTAX);
    expect_fault("%~a", ACL_SYNTAX);
    expect_fault("%", ACL_SYNTAX);
    expect_fault("%RR~a", ACL_SYNTAX);
    expect_fault("~a b", ACL_SYNTAX);
    expect_fault("~*;~a", ACL_KEYS_AFTER_ALL);
    expect_fault("&*;&a", ACL_CHANNELS_AFTER_ALL);
    expect_fault("<x", ACL_NO_SUCH_PASSWORD);
    expect_fault("#x", ACL_BAD_HASH);
    expect_fault("(bogus)", ACL_SYNTAX);
    expect_fault("(+nosuch)", ACL_UNKNOWN);
}

Test(acl, a_list_of_rules_is_applied_whole_or_not_at_all)
{
    struct acl_user *u = make();
    struct slice rules[] = {SLICE("on"), SLICE("(~a"), SLICE("+get)"), SLICE("+nosuch")};
    struct buf error;
    buf_init(&error);
    cr_expect(!acl_user_rules(u, &terms, rules, 4, &error));
    cr_expect(slice_equal(buf_slice(&error),
                          SLICE("Error in ACL SETUSER modifier '+nosuch': Unknown command or "
                                "category name in ACL")));
    expect_described(u, NONE);
    error.size = 0;
    cr_expect(!acl_user_rules(u, &terms, rules, 2, &error));
    cr_expect(slice_equal(buf_slice(&error),
                          SLICE("Unmatched parenthesis in acl selector starting at '(~a'.")));
    cr_expect(acl_user_rules(u, &terms, rules, 3, &error));
    expect_described(u, "on sanitize-payload resetchannels -@all (~a resetchannels -@all +get)");
    buf_deinit(&error);
    acl_user_destroy(u);
}

Test(acl, passwords_are_added_and_removed)
{
    struct acl_user *u = make();
    cr_expect_eq(apply(u, ">one;>two;>one"), ACL_FINE);
    cr_expect_eq(u->hash_count, 2);
    cr_expect(acl_user_has_password(u, SLICE("one"), 1));
    cr_expect(acl_user_has_password(u, SLICE("two"), 9));
    cr_expect(!acl_user_has_password(u, SLICE("three"), 1));
    cr_expect(!acl_user_has_password(NULL, SLICE("one"), 1));
    cr_expect(!acl_user_has_password(NULL, SLICE(""), 5));
    cr_expect_eq(apply(u, "<one"), ACL_FINE);
    cr_expect(!acl_user_has_password(u, SLICE("one"), 1));
    cr_expect(acl_user_has_password(u, SLICE("two"), 1));
    /* SHA-256 of "two" */
    cr_expect_eq(apply(u, "!3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"),
                 ACL_FINE);
    cr_expect_eq(u->hash_count, 0);
    acl_user_destroy(u);
}

Test(acl, an_unlimited_user_is_known_as_one)
{
    struct acl_user *u = acl_user_create_default(&terms);
    cr_expect(u->unlimited);
    apply(u, "-get");
    acl_user_settle(u);
    cr_expect(!u->unlimited);
    apply(u, "(allkeys allchannels allcommands)");
    acl_user_settle(u);
    cr_expect(u->unlimited);
    acl_user_destroy(u);
}

static enum acl_verdict check(const struct acl_user *u, const char *request, uint32_t *arg)
{
    char *copy = strdup(request), *rest = copy, *word;
    struct slice argv[32];
    uint32_t argc = 0;
    while ((word = strsep(&rest, " ")))
        argv[argc++] = slice_of(word);
    const struct command *row = registry_resolve(registry, argv, argc);
    enum acl_verdict verdict = acl_user_check(u, row, argv, argc, arg);
    free(copy);
    return verdict;
}

static void expect_verdict(const struct acl_user *u, const char *request, enum acl_verdict wanted,
                           uint32_t wanted_arg)
{
    uint32_t arg = 0;
    enum acl_verdict verdict = check(u, request, &arg);
    cr_expect_eq(verdict, wanted, "%s: %d", request, verdict);
    if (verdict != ACL_PERMITTED)
        cr_expect_eq(arg, wanted_arg, "%s: %u", request, arg);
}

Test(acl, what_came_closest_is_told)
{
    struct acl_user *u = make();
    apply(u, "+mget;~a;(+mget ~b ~c);(+publish &x)");
    expect_verdict(u, "mget a", ACL_PERMITTED, 0);
    expect_verdict(u, "mget b c", ACL_PERMITTED, 0);
    expect_verdict(u, "mget a b", ACL_DENIED_KEY, 2);
    expect_verdict(u, "mget b c a", ACL_DENIED_KEY, 3);
    expect_verdict(u, "publish x m", ACL_PERMITTED, 0);
    expect_verdict(u, "publish y m", ACL_DENIED_CHANNEL, 1);
    expect_verdict(u, "get a", ACL_DENIED_COMMAND, 0);
    expect_verdict(u, "auth x", ACL_PERMITTED, 0);
    acl_user_destroy(u);
}

Test(acl, secrets_are_redacted)
{
    static const struct {
        const char *request;
        const char *hidden; /* an 'x' for each argument that is */
    } cases[] = {
        {"auth pw", ".x"}, {"auth u pw", ".xx"}, {"acl setuser u on >pw", "..xxx"},
        {"acl getuser u", "..."}, {"config set requirepass pw maxmemory 1", "...x.."},
        {"config set maxmemory 1 masterauth requirepass", ".....x"},
        {"config get requirepass", "..."}, {"hello 3 auth u pw setname n", "...xx.."},
        {"migrate h 1 k 0 1 auth pw", ".......x"},
        {"migrate h 1 k 0 1 auth2 u pw keys a", ".......xx.."}, {"set auth pw", "..."},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *copy = strdup(cases[i].request), *rest = copy, *word;
        struct slice argv[16];
        uint32_t argc = 0;
        while ((word = strsep(&rest, " ")))
            argv[argc++] = slice_of(word);
        const struct command *row = registry_resolve(registry, argv, argc);
        for (uint32_t k = 0; k < argc; k++)
            cr_expect_eq(acl_redacts(row, argv, argc, k), cases[i].hidden[k] == 'x', "%s: %u",
                         cases[i].request, k);
        free(copy);
    }
}

/* --- The model: a set of names of commands, lists of patterns --- */

#define ROUNDS 300
#define RULES_MAX 12

struct model_pattern {
    const char *text;
    bool read, write;
};

struct model {
    bool *allowed; /* by id */
    struct model_pattern patterns[RULES_MAX];
    uint32_t pattern_count;
    bool all_keys;
};

static const char *const command_rules[] = {
    "+get", "-get", "+set", "-set", "+copy", "-copy", "+mget", "-mget", "+client|id", "-client|id",
    "+client", "-client", "+@read", "-@read", "+@write", "-@write", "+@all", "-@all",
    "+@connection", "-@string",
};
static const char *const key_rules[] = {
    "~a*", "~*b", "%R~a*", "%W~a*", "%R~?b", "%W~c", "%RW~c", "resetkeys", "allkeys",
};
static const char *const requests[] = {
    "get ab", "get c", "set ab 1", "set c 1", "set c 1 get", "copy ab c", "copy c ab", "mget ab c",
    "client id", "client list", "exists c", "del ab xb",
};

static bool is_named(const struct command *row, const char *name)
{
    size_t size = strlen(name);
    return strcmp(row->full_name, name) == 0 ||
           (strncmp(row->full_name, name, size) == 0 && row->full_name[size] == '|');
}

static bool is_in_category(const struct command *row, const char *name)
{
    uint32_t bit = strcmp(name, "read") == 0         ? ACL_READ
                   : strcmp(name, "write") == 0      ? ACL_WRITE
                   : strcmp(name, "connection") == 0 ? ACL_CONNECTION
                                                     : ACL_STRING;
    return row->acl & bit;
}

static void model_command(struct model *m, const char *rule)
{
    for (uint32_t id = 0; id < registry_count(registry); id++) {
        const struct command *row = registry_at(registry, id);
        bool all = strcmp(rule + 1, "@all") == 0;
        if (all || (rule[1] == '@' ? is_in_category(row, rule + 2) : is_named(row, rule + 1)))
            m->allowed[id] = rule[0] == '+';
    }
}

static void model_key(struct model *m, const char *rule)
{
    if (strcmp(rule, "resetkeys") == 0 || strcmp(rule, "allkeys") == 0) {
        m->pattern_count = 0;
        m->all_keys = rule[0] == 'a';
        return;
    }
    const char *tilde = strchr(rule, '~');
    bool read = rule[0] == '~' || strchr(rule, 'R'), write = rule[0] == '~' || strchr(rule, 'W');
    for (uint32_t i = 0; i < m->pattern_count; i++)
        if (strcmp(m->patterns[i].text, tilde + 1) == 0) {
            m->patterns[i].read |= read;
            m->patterns[i].write |= write;
            return;
        }
    m->patterns[m->pattern_count++] = (struct model_pattern){tilde + 1, read, write};
}

static bool model_key_permits(const struct model *m, struct slice key, bool read, bool write)
{
    for (uint32_t i = 0; i < m->pattern_count; i++) {
        const struct model_pattern *p = &m->patterns[i];
        if ((p->read || !read) && (p->write || !write) &&
            glob_match(slice_of(p->text), key, false))
            return true;
    }
    return m->all_keys;
}

static bool model_permits(const struct model *m, const struct command *row,
                          const struct slice *argv, uint32_t argc)
{
    struct command_key keys[8];
    if (!m->allowed[row->id])
        return false;
    int64_t n = command_keys(row, argv, argc, keys, 8);
    for (int64_t i = 0; i < n; i++)
        if (!model_key_permits(m, argv[keys[i].arg], keys[i].flags & KEY_ACCESS,
                               keys[i].flags & (KEY_UPDATE | KEY_INSERT | KEY_DELETE)))
            return false;
    return true;
}

static void apply_to_both(struct acl_user *u, struct model *m, unsigned *seed)
{
    bool on_keys = rand_r(seed) % 3 == 0;
    size_t count = on_keys ? sizeof(key_rules) / sizeof(char *)
                           : sizeof(command_rules) / sizeof(char *);
    const char *rule = (on_keys ? key_rules : command_rules)[(size_t)rand_r(seed) % count];
    enum acl_fault fault = acl_user_rule(u, &terms, slice_of(rule));
    bool after_all = on_keys && m->all_keys && strchr(rule, '~');
    cr_assert_eq(fault, after_all ? ACL_KEYS_AFTER_ALL : ACL_FINE, "%s", rule);
    if (!on_keys)
        model_command(m, rule);
    else if (!after_all)
        model_key(m, rule);
}

static void compare(const struct acl_user *u, const struct model *m)
{
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        char copy[64], *rest = copy, *word;
        snprintf(copy, sizeof(copy), "%s", requests[i]);
        struct slice argv[8];
        uint32_t argc = 0, arg;
        while ((word = strsep(&rest, " ")))
            argv[argc++] = slice_of(word);
        const struct command *row = registry_resolve(registry, argv, argc);
        bool permitted = acl_user_check(u, row, argv, argc, &arg) == ACL_PERMITTED;
        cr_assert_eq(permitted, model_permits(m, row, argv, argc), "%s", requests[i]);
    }
}

/* What a description says, said to a new user, makes the same user. */
static void compare_with_described(const struct acl_user *u, const struct model *m)
{
    struct buf text, again;
    buf_init(&text);
    buf_init(&again);
    acl_describe(u, &text);
    struct acl_user *copy = make();
    struct slice left = buf_slice(&text);
    while (left.size) {
        const char *blank = memchr(left.data, ' ', left.size);
        size_t size = blank ? (size_t)(blank - left.data) : left.size;
        cr_assert_eq(acl_user_rule(copy, &terms, (struct slice){left.data, size}), ACL_FINE);
        size += blank != NULL;
        left = (struct slice){left.data + size, left.size - size};
    }
    acl_describe(copy, &again);
    cr_assert(slice_equal(buf_slice(&text), buf_slice(&again)));
    compare(copy, m);
    acl_user_destroy(copy);
    buf_deinit(&text);
    buf_deinit(&again);
}

Test(acl, random_rules_permit_what_the_model_permits)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned seed = round;
        struct acl_user *u = make();
        struct model m = {.allowed = mem_alloc_zeroed(registry_count(registry))};
        for (int i = 0; i < RULES_MAX; i++) {
            apply_to_both(u, &m, &seed);
            compare(u, &m);
        }
        compare_with_described(u, &m);
        mem_free(m.allowed);
        acl_user_destroy(u);
    }
}
