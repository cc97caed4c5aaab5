/* Rules as arguments: see user.h. */
#include "proto/mem.h"
#include "server/acl/user.h"

static bool ends_selector(struct slice word)
{
    return word.size && word.data[word.size - 1] == ')';
}

static bool begins_selector(struct slice word)
{
    return word.size && word.data[0] == '(' && !ends_selector(word);
}

/* The words from `at` to the one that closes the parenthesis, joined; the index behind them, or 0
 * where none does. */
static uint32_t join(const struct slice *argv, uint32_t argc, uint32_t at, struct slice *joined)
{
    struct buf text;
    buf_init(&text);
    buf_append_slice(&text, argv[at++]);
    bool closed = false;
    while (at < argc && !closed) {
        buf_append_text(&text, " ");
        buf_append_slice(&text, argv[at]);
        closed = ends_selector(argv[at++]);
    }
    if (closed)
        *joined = acl_text_copy(buf_slice(&text));
    buf_deinit(&text);
    return closed ? at : 0;
}

bool acl_words_merge(struct acl_words *w, const struct slice *argv, uint32_t argc, uint32_t *open)
{
    *w = (struct acl_words){.items = mem_alloc((argc + 1) * sizeof(*w->items))};
    uint32_t at = 0;
    while (at < argc) {
        if (!begins_selector(argv[at])) {
            w->items[w->count++] = acl_text_copy(argv[at++]);
            continue;
        }
        *open = at;
        at = join(argv, argc, at, &w->items[w->count]);
        if (at == 0) {
            acl_words_deinit(w);
            return false;
        }
        w->count++;
    }
    return true;
}

void acl_words_deinit(struct acl_words *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        acl_text_free(&w->items[i]);
    mem_free(w->items);
    *w = (struct acl_words){0};
}

bool acl_user_rules(struct acl_user *u, const struct acl_terms *terms, const struct slice *argv,
                    uint32_t argc, struct buf *error)
{
    struct acl_words words;
    uint32_t open;
    if (!acl_words_merge(&words, argv, argc, &open)) {
        buf_printf(error, "Unmatched parenthesis in acl selector starting at '%.*s'.",
                   (int)argv[open].size, argv[open].data);
        return false;
    }
    struct acl_user *changed = acl_user_copy(u, u->name);
    enum acl_fault fault = ACL_FINE;
    uint32_t i = 0;
    for (; i < words.count && fault == ACL_FINE; i++)
        fault = acl_user_rule(changed, terms, words.items[i]);
    if (fault == ACL_FINE) {
        acl_user_take(u, changed);
        acl_user_settle(u);
    } else {
        acl_user_destroy(changed);
        buf_printf(error, "Error in ACL SETUSER modifier '%s': %s", words.items[i - 1].data,
                   acl_fault_text(fault));
    }
    acl_words_deinit(&words);
    return fault == ACL_FINE;
}
