/* Options on the process, read: see process_words.h. */
#include "server/process_words.h"

#include "proto/number.h"

/* The next word of a text of words with blanks between; empty at its end. */
static struct slice next_word(const char **at)
{
    while (**at == ' ')
        (*at)++;
    const char *start = *at;
    while (**at && **at != ' ')
        (*at)++;
    return (struct slice){start, (size_t)(*at - start)};
}

const char *process_parse_shutdown(const char *text, unsigned *flags)
{
    static const struct {
        const char *word;
        unsigned flag;
    } known[] = {{"default", 0},       {"save", PROCESS_SAVE},   {"nosave", PROCESS_NOSAVE},
                 {"now", PROCESS_NOW}, {"force", PROCESS_FORCE}};
    const size_t count = sizeof(known) / sizeof(known[0]);
    *flags = 0;
    struct slice word = next_word(&text);
    do {
        size_t i = 0;
        while (i < count && !slice_is(word, known[i].word))
            i++;
        if (i == count)
            return "argument(s) must be one of the following: default, save, nosave, now, force";
        *flags |= known[i].flag;
        word = next_word(&text);
    } while (word.size);
    if (*flags & PROCESS_SAVE && *flags & PROCESS_NOSAVE)
        return "shutdown options SAVE and NOSAVE can't be used simultaneously";
    return NULL;
}

const char *process_parse_oom(const char *text, int values[PROCESS_OOM_VALUES])
{
    int count = 0;
    for (struct slice word = next_word(&text); word.size; word = next_word(&text), count++) {
        int64_t value;
        if (count == PROCESS_OOM_VALUES)
            return "wrong number of arguments";
        if (!number_parse_integer(word, &value) || value < -2000 || value > 2000)
            return "Invalid oom-score-adj-values, elements must be between -2000 and 2000.";
        values[count] = (int)value;
    }
    return count == PROCESS_OOM_VALUES ? NULL : "wrong number of arguments";
}

static bool append_variable(struct slice name, const struct process_facts *f, struct buf *to)
{
    if (slice_equal(name, SLICE("title")))
        buf_append_text(to, f->title);
    else if (slice_equal(name, SLICE("listen-addr")) && !f->port && !f->tls_port)
        buf_printf(to, "unixsocket:%s", f->unixsocket);
    else if (slice_equal(name, SLICE("listen-addr")))
        buf_printf(to, "%s:%lld", f->address ? f->address : "*",
                   (long long)(f->port ? f->port : f->tls_port));
    else if (slice_equal(name, SLICE("config-file")))
        buf_append_text(to, f->config_file ? f->config_file : "-");
    else if (slice_equal(name, SLICE("port")))
        buf_printf(to, "%lld", (long long)f->port);
    else if (slice_equal(name, SLICE("tls-port")))
        buf_printf(to, "%lld", (long long)f->tls_port);
    else if (slice_equal(name, SLICE("unixsocket")))
        buf_append_text(to, f->unixsocket);
    else
        return slice_equal(name, SLICE("server-mode")); /* standalone: nothing to say */
    return true;
}

bool process_expand_title(const char *template, const struct process_facts *facts,
                          struct buf *to)
{
    const size_t start = to->size;
    for (const char *at = template; *at; at++) {
        const char *end = strchr(at, '}');
        if (*at != '{' || at[1] == '{') {
            at += *at == '{';
            if (to->size > start || *at != ' ')
                buf_append(to, at, 1);
            continue;
        }
        if (!end || !append_variable((struct slice){at + 1, (size_t)(end - at - 1)}, facts, to))
            return false;
        at = end;
    }
    while (to->size > start && to->data[to->size - 1] == ' ')
        to->size--;
    return to->size > start;
}
