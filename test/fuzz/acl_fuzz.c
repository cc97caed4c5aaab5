/* Fuzzes the language of ACL rules: any bytes as rules, one a line. What a user then is must
 * survive its own description, and requests of all kinds be answered without harm.
 *
 * CC=clang meson setup ... -Dfuzz=true: see test/fuzz/meson.build. */
#include <stdlib.h>

#include "proto/mem.h"
#include "server/acl/user.h"
#include "server/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Words of one blank between them, as in a file. */
static uint32_t split(struct slice text, char by, struct slice *words, uint32_t max)
{
    uint32_t count = 0;
    while (text.size && count < max) {
        const char *end = memchr(text.data, by, text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        words[count++] = (struct slice){text.data, size};
        size += end != NULL;
        text = (struct slice){text.data + size, text.size - size};
    }
    return count;
}

static void check_description(const struct acl_user *u, const struct acl_terms *terms)
{
    enum { WORDS_MAX = 4096 };
    struct buf text, again, error;
    buf_init(&text);
    buf_init(&again);
    buf_init(&error);
    acl_describe(u, &text);
    struct slice *words = mem_alloc(WORDS_MAX * sizeof(*words));
    uint32_t count = split(buf_slice(&text), ' ', words, WORDS_MAX);
    struct acl_user *copy = acl_user_create(terms, u->name);
    if (count < WORDS_MAX) {
        if (!acl_user_rules(copy, terms, words, count, &error))
            abort();
        acl_describe(copy, &again);
        if (!slice_equal(buf_slice(&text), buf_slice(&again)))
            abort();
    }
    acl_user_destroy(copy);
    mem_free(words);
    buf_deinit(&text);
    buf_deinit(&again);
    buf_deinit(&error);
}

static void check_requests(const struct acl_user *u, const struct registry *registry)
{
    static const struct slice argv[] = {
        {"x", 1}, {"a", 1}, {"1", 1}, {"streams", 7}, {"b", 1}, {"store", 5}, {"c", 1},
    };
    for (uint32_t id = 0; id < registry_count(registry); id++)
        for (uint32_t argc = 1; argc <= sizeof(argv) / sizeof(argv[0]); argc++) {
            const struct command *row = registry_at(registry, id);
            bool fits = row->arity > 0 ? argc == (uint32_t)row->arity
                                       : argc >= (uint32_t)-row->arity;
            uint32_t arg = 0;
            if (fits)
                acl_user_check(u, row, argv, argc, &arg);
            if (arg >= argc)
                abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { RULES_MAX = 64 };
    static struct registry *registry;
    if (!registry)
        registry = registry_create();
    struct acl_terms terms = {.registry = registry};
    struct slice rules[RULES_MAX];
    uint32_t count = split((struct slice){(const char *)data, size}, '\n', rules, RULES_MAX);
    struct acl_user *u = acl_user_create(&terms, SLICE("fuzz"));
    struct buf error;
    buf_init(&error);
    bool fine = acl_user_rules(u, &terms, rules, count, &error);
    if (fine == (error.size > 0))
        abort();
    for (uint32_t i = 0; i < count && !fine; i++)
        acl_user_rule(u, &terms, rules[i]);
    check_description(u, &terms);
    check_requests(u, registry);
    buf_deinit(&error);
    acl_user_destroy(u);
    return 0;
}
