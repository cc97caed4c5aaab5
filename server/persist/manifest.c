/* The manifest as data: see aof.h.
 *
 * A line a file: pairs of a key and a value, of which "file", "seq" and "type" must be there and
 * others are passed over, so that later versions may add some. Words are quoted where they need it,
 * as in redis.conf; lines that begin with # are comments. What is refused, and in which words, is
 * what Redis 7 refuses: operators look for these. */
#include "server/persist/aof.h"

#include <stdio.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/config_option.h"

#define LINE_SIZE_MAX 1023 /* bytes, without the line break */
#define ORDER "bhi"        /* the types' places in the manifest */

static unsigned place_of(enum aof_file_type type)
{
    return (unsigned)(strchr(ORDER, type) - ORDER);
}

void aof_manifest_add(struct aof_manifest *m, const char *name, uint64_t sequence,
                      enum aof_file_type type)
{
    uint32_t at = m->count;
    while (at > 0 && place_of(m->files[at - 1].type) > place_of(type))
        at--;
    m->files = mem_realloc(m->files, (m->count + 1) * sizeof(*m->files));
    memmove(m->files + at + 1, m->files + at, (m->count - at) * sizeof(*m->files));
    m->count++;
    size_t size = strlen(name) + 1;
    m->files[at] = (struct aof_file){mem_alloc(size), sequence, type};
    memcpy(m->files[at].name, name, size);
}

void aof_manifest_remove(struct aof_manifest *m, uint32_t index)
{
    mem_free(m->files[index].name);
    m->count--;
    memmove(m->files + index, m->files + index + 1, (m->count - index) * sizeof(*m->files));
}

void aof_manifest_copy(struct aof_manifest *to, const struct aof_manifest *from)
{
    *to = (struct aof_manifest){0};
    for (uint32_t i = 0; i < from->count; i++)
        aof_manifest_add(to, from->files[i].name, from->files[i].sequence, from->files[i].type);
}

const struct aof_file *aof_manifest_last(const struct aof_manifest *m, enum aof_file_type type)
{
    const struct aof_file *last = NULL;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->files[i].type == type && (!last || m->files[i].sequence > last->sequence))
            last = &m->files[i];
    return last;
}

void aof_manifest_deinit(struct aof_manifest *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        mem_free(m->files[i].name);
    mem_free(m->files);
    *m = (struct aof_manifest){0};
}

/* ---- Printing ---- */

static bool is_plain(char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\';
}

static void print_name(struct buf *to, const char *name)
{
    static const char controls[] = "\n\r\t\a\b", letters[] = "nrtab";
    bool plain = *name != '\0';
    for (const char *c = name; *c; c++)
        plain = plain && is_plain(*c);
    if (plain) {
        buf_append_text(to, name);
        return;
    }
    buf_append_text(to, "\"");
    for (const char *c = name; *c; c++) {
        if (is_plain(*c) || *c == ' ' || *c == '\'')
            buf_append(to, c, 1);
        else if (*c == '"' || *c == '\\')
            buf_printf(to, "\\%c", *c);
        else if (strchr(controls, *c))
            buf_printf(to, "\\%c", letters[strchr(controls, *c) - controls]);
        else
            buf_printf(to, "\\x%02x", (unsigned char)*c);
    }
    buf_append_text(to, "\"");
}

void aof_manifest_print(const struct aof_manifest *m, struct buf *to)
{
    for (uint32_t i = 0; i < m->count; i++) {
        buf_append_text(to, "file ");
        print_name(to, m->files[i].name);
        buf_printf(to, " seq %llu type %c\n", (unsigned long long)m->files[i].sequence,
                   m->files[i].type);
    }
}

/* ---- Parsing ---- */

/* What a line says; the name is among the line's words. */
struct line {
    struct slice name;
    uint64_t sequence; /* 0: not said */
    char type;         /* '\0': not said */
};

static const char bad_format[] = "Invalid AOF manifest file format";

/* As Redis reads it: the digits at the beginning. */
static uint64_t read_sequence(struct slice word)
{
    size_t digits = 0;
    while (digits < word.size && word.data[digits] >= '0' && word.data[digits] <= '9')
        digits++;
    uint64_t sequence = 0;
    for (size_t i = 0; i < digits; i++)
        if (__builtin_mul_overflow(sequence, 10, &sequence) ||
            __builtin_add_overflow(sequence, (uint64_t)(word.data[i] - '0'), &sequence))
            return 0;
    return sequence > INT64_MAX ? 0 : sequence;
}

static const char *check_name(struct slice name)
{
    if (name.size == 0 || memchr(name.data, '\0', name.size))
        return bad_format;
    if (memchr(name.data, '/', name.size) || memchr(name.data, '\\', name.size) ||
        slice_equal(name, SLICE(".")) || slice_equal(name, SLICE("..")))
        return "File can't be a path, just a filename";
    return NULL;
}

static const char *read_words(const struct config_words *w, struct line *l)
{
    if (w->count < 6 || w->count % 2)
        return bad_format;
    for (uint32_t i = 0; i < w->count; i += 2) {
        struct slice value = w->items[i + 1];
        if (slice_is(w->items[i], "file")) {
            const char *error = check_name(value);
            if (error)
                return error;
            l->name = value;
        } else if (slice_is(w->items[i], "seq")) {
            l->sequence = read_sequence(value);
        } else if (slice_is(w->items[i], "type")) {
            l->type = value.size ? value.data[0] : '\0';
        }
    }
    return l->name.size && l->sequence && l->type ? NULL : bad_format;
}

static const char *take_line(struct aof_manifest *m, const struct line *l)
{
    if (!strchr(ORDER, l->type))
        return "Unknown AOF file type";
    enum aof_file_type type = (enum aof_file_type)l->type;
    const struct aof_file *last = aof_manifest_last(m, type);
    if (type == AOF_BASE && last)
        return "Found duplicate base file information";
    if (type == AOF_INCREMENT && last && l->sequence <= last->sequence)
        return "Found a non-monotonic sequence number";
    char *name = config_string_copy(l->name);
    aof_manifest_add(m, name, l->sequence, type);
    mem_free(name);
    return NULL;
}

static const char *read_line(struct aof_manifest *m, struct slice text)
{
    struct config_words words;
    struct line line = {0};
    if (!config_words_split(&words, text))
        return bad_format;
    const char *error = read_words(&words, &line);
    if (!error)
        error = take_line(m, &line);
    config_words_deinit(&words);
    return error;
}

bool aof_manifest_parse(struct aof_manifest *m, struct slice text, char *error, size_t error_size)
{
    *m = (struct aof_manifest){0};
    const char *why = text.size ? NULL : "Found an empty AOF manifest";
    struct slice line = {0};
    unsigned number = 0;
    for (size_t at = 0; at < text.size && !why; at += line.size + 1) {
        const char *start = text.data + at;
        const char *end = memchr(start, '\n', text.size - at);
        line = (struct slice){start, end ? (size_t)(end - start) : text.size - at};
        number++;
        if (line.size && start[0] == '#')
            continue;
        if (!end || line.size > LINE_SIZE_MAX)
            why = "The AOF manifest file contains too long line";
        else
            why = read_line(m, line);
    }
    if (!why)
        return true;
    if (number)
        snprintf(error, error_size, "%s, at line %u: '%.*s'", why, number,
                 (int)(line.size < 200 ? line.size : 200), line.data);
    else
        snprintf(error, error_size, "%s", why);
    aof_manifest_deinit(m);
    return false;
}
