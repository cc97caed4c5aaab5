/* A line of redis.conf as words.
 *
 * A word ends at a blank. It may be, or end in, a quoted part: "..." with the escapes \n \r \t \b
 * \a \xHH and \ before any other byte, or '...' with \' alone. What follows a closing quote must
 * be a blank. These are redis.conf's and redis-cli's rules; escapes only ever shorten a word, so
 * the words of a line fit in as many bytes as the line has. */
#include "server/config_option.h"

#include "proto/mem.h"

struct scan {
    const char *at;
    const char *end;
    char *out;
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash within double quotes; there is at least one byte. */
static char scan_escape(struct scan *s)
{
    char c = *s->at++;
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    case 'x':
        if (s->end - s->at >= 2 && hex_value(s->at[0]) >= 0 && hex_value(s->at[1]) >= 0) {
            c = (char)(hex_value(s->at[0]) * 16 + hex_value(s->at[1]));
            s->at += 2;
        }
        return c;
    default: return c;
    }
}

static bool scan_quoted(struct scan *s, char quote)
{
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == quote)
            return s->at == s->end || is_blank(*s->at);
        if (c == '\\' && s->at < s->end) {
            if (quote == '"')
                c = scan_escape(s);
            else if (*s->at == quote)
                c = *s->at++;
        }
        *s->out++ = c;
    }
    return false;
}

static bool scan_word(struct scan *s)
{
    while (s->at < s->end && !is_blank(*s->at)) {
        char c = *s->at++;
        if (c == '"' || c == '\'')
            return scan_quoted(s, c);
        *s->out++ = c;
    }
    return true;
}

static void add_word(struct config_words *w, struct slice word)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 8;
        w->items = mem_realloc(w->items, w->cap * sizeof w->items[0]);
    }
    w->items[w->count++] = word;
}

bool config_words_split(struct config_words *w, struct slice line)
{
    *w = (struct config_words){.bytes = mem_alloc(line.size + 1)};
    struct scan s = {line.data, line.data + line.size, w->bytes};
    for (;;) {
        while (s.at < s.end && is_blank(*s.at))
            s.at++;
        if (s.at == s.end)
            return true;
        char *start = s.out;
        if (!scan_word(&s)) {
            config_words_deinit(w);
            return false;
        }
        add_word(w, (struct slice){start, (size_t)(s.out - start)});
    }
}

void config_words_deinit(struct config_words *w)
{
    mem_free(w->items);
    mem_free(w->bytes);
    *w = (struct config_words){0};
}

static bool is_plain(char c)
{
    return c > ' ' && c <= '~' && c != '"' && c != '\'' && c != '\\';
}

void config_append_quoted(struct buf *to, struct slice word)
{
    static const char escapes[][2] = {{'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}, {'\b', 'b'},
                                      {'\a', 'a'}, {'"', '"'},  {'\\', '\\'}};
    buf_append_text(to, " \"");
    for (size_t i = 0; i < word.size; i++) {
        char c = word.data[i];
        size_t e = 0;
        while (e < sizeof(escapes) / sizeof(escapes[0]) && escapes[e][0] != c)
            e++;
        if (e < sizeof(escapes) / sizeof(escapes[0]))
            buf_printf(to, "\\%c", escapes[e][1]);
        else if (is_plain(c) || c == ' ' || c == '\'')
            buf_append(to, &c, 1);
        else
            buf_printf(to, "\\x%02x", (unsigned)(unsigned char)c);
    }
    buf_append_text(to, "\"");
}

void config_append_word(struct buf *to, struct slice word)
{
    size_t i = 0;
    while (i < word.size && is_plain(word.data[i]))
        i++;
    if (!word.size || i < word.size) {
        config_append_quoted(to, word);
        return;
    }
    buf_append_text(to, " ");
    buf_append_slice(to, word);
}
