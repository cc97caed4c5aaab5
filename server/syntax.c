/* The parser of syntax texts: recursive descent over words and brackets.
 *
 * A sequence is read into items that know which bytes of the text they came from. That is how a
 * repetition finds what it repeats: "[key value ...]" looks for items behind each other, the
 * last ones so far, whose text is "key value". When a sequence is complete its tokens are joined
 * to the arguments behind them. */
#include "server/syntax.h"

#include <assert.h>
#include <ctype.h>

#include "proto/buf.h"
#include "proto/mem.h"

#define ITEMS_MAX 32 /* in one sequence; the longest of Redis has a dozen */
#define DEPTH_MAX 8

struct item {
    const char *start, *end; /* its bytes in the text */
    bool token;              /* a bare token, which may own what follows */
    struct syntax_arg arg;
};

struct sequence {
    struct item items[ITEMS_MAX];
    uint32_t count;
};

struct parser {
    const struct command *row;
    const char *at;
    uint32_t spec_count;
    uint32_t depth;
};

/* A choice or block being read: where its text starts, and whether "[itself ...]" ended it. */
struct group {
    const char *start;
    bool repeats;
};

static bool parse_choice(struct parser *p, struct group *g, struct syntax_list *alternatives);

/* ---- Lists and names ---- */

static struct syntax_arg *list_add(struct syntax_list *list, struct syntax_arg arg)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 4;
        list->args = mem_realloc(list->args, list->cap * sizeof(*list->args));
    }
    list->args[list->count] = arg;
    return &list->args[list->count++];
}

static void arg_deinit(struct syntax_arg *arg)
{
    mem_free(arg->name);
    mem_free(arg->token);
    syntax_deinit(&arg->children);
}

void syntax_deinit(struct syntax_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        arg_deinit(&list->args[i]);
    mem_free(list->args);
    *list = (struct syntax_list){0};
}

static char *copy_text(const char *text, size_t size)
{
    char *copy = mem_alloc(size + 1);
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

static char *copy_lower(const char *text)
{
    char *copy = copy_text(text, strlen(text));
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return copy;
}

/* Lower case, but for what Redis calls by what it means. */
static char *name_token(const char *token)
{
    static const char *const names[][2] = {
        {"=", "equal"}, {"~", "approximately"}, {"*", "auto-id"}, {"$", "new-id"},
        {"CH", "change"}, {"INCR", "increment"}, {"ALPHA", "sorting"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i][0], token) == 0)
            return copy_text(names[i][1], strlen(names[i][1]));
    return copy_lower(token);
}

/* Redis's names for the choices and blocks that many commands have, by what comes first in them. */
static const char *known_group(enum syntax_type type, const char *first)
{
    static const struct {
        enum syntax_type type;
        const char *first, *name;
    } groups[] = {
        {SYNTAX_ONEOF, "nx", "condition"},     {SYNTAX_ONEOF, "gt", "comparison"},
        {SYNTAX_ONEOF, "byte", "unit"},        {SYNTAX_ONEOF, "m", "unit"},
        {SYNTAX_ONEOF, "async", "flush-type"}, {SYNTAX_ONEOF, "seconds", "expiration"},
        {SYNTAX_ONEOF, "asc", "order"},        {SYNTAX_ONEOF, "maxlen", "strategy"},
        {SYNTAX_ONEOF, "and", "operation"},    {SYNTAX_ONEOF, "get", "operation"},
        {SYNTAX_ONEOF, "on", "enabled"},       {SYNTAX_ONEOF, "left", "where"},
        {SYNTAX_ONEOF, "equal", "operator"},       {SYNTAX_BLOCK, "start", "range"},
        {SYNTAX_BLOCK, "key", "data"},         {SYNTAX_BLOCK, "field", "data"},
        {SYNTAX_BLOCK, "score", "data"},       {SYNTAX_ONEOF, "min", "where"},
        {SYNTAX_ONEOF, "before", "where"},     {SYNTAX_ONEOF, "byscore", "sortby"},
        {SYNTAX_ONEOF, "count", "operation"},  {SYNTAX_ONEOF, "yes", "mode"},
        {SYNTAX_ONEOF, "write", "mode"},       {SYNTAX_ONEOF, "flush", "policy"},
        {SYNTAX_ONEOF, "force", "options"},    {SYNTAX_ONEOF, "hard", "reset-type"},
        {SYNTAX_ONEOF, "nosave", "save-selector"},
        {SYNTAX_ONEOF, "timeout", "unblock-type"},
        {SYNTAX_ONEOF, "member", "from"},      {SYNTAX_ONEOF, "byradius", "by"},
        {SYNTAX_ONEOF, "auto-id", "id-selector"}, {SYNTAX_ONEOF, "id", "id-selector"},
        {SYNTAX_ONEOF, "ip:port", "filter"},   {SYNTAX_BLOCK, "parameter", "data"},
        {SYNTAX_BLOCK, "longitude", "data"},   {SYNTAX_BLOCK, "start-slot", "range"},
        {SYNTAX_BLOCK, "protover", "arguments"}, {SYNTAX_BLOCK, "strategy", "trim"},
        {SYNTAX_BLOCK, "min-idle-time", "filters"},
    };
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        if (groups[i].type == type && strcmp(groups[i].first, first) == 0)
            return groups[i].name;
    return NULL;
}

/* The name of a choice or block: its token's, a known one, or its parts' names in a row. */
static char *name_group(const struct syntax_arg *arg)
{
    const struct syntax_list *list = &arg->children;
    if (arg->token)
        return copy_lower(arg->token);
    const char *known = known_group(arg->type, list->args[0].name);
    if (known)
        return copy_text(known, strlen(known));
    struct buf b;
    buf_init(&b);
    for (uint32_t i = 0; i < list->count; i++) {
        buf_append_text(&b, i ? "-" : "");
        buf_append_text(&b, list->args[i].name);
    }
    char *name = copy_text(b.data, b.size);
    buf_deinit(&b);
    return name;
}

static struct syntax_arg make_group(enum syntax_type type, char *token, struct syntax_list children)
{
    struct syntax_arg arg = {.type = type, .token = token, .key_spec = -1, .children = children};
    arg.name = name_group(&arg);
    return arg;
}

/* ---- Types of words ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

/* Redis types some words by the command: what a bitmap calls a value is a bit, a stream's start
 * is an id, ZRANGE's a score too, only blocking commands and INCRBYFLOAT take fractions. */
static bool type_by_command(const struct command *row, const char *word, enum syntax_type *type)
{
    static const char *const edges[] = {"start", "end", "stop", NULL};
    static const char *const bounds[] = {"min", "max", NULL};
    if (strcmp(word, "value") == 0 && strcmp(row->group, "bitmap") == 0)
        *type = SYNTAX_INTEGER;
    else if (is_one_of(word, edges) && strcmp(row->group, "stream") == 0)
        *type = SYNTAX_STRING;
    else if (is_one_of(word, edges) && strcmp(row->name, "zrange") == 0)
        *type = SYNTAX_STRING;
    else if (is_one_of(word, bounds) && (ends_with(row->name, "byscore") ||
                                         strcmp(row->name, "zcount") == 0))
        *type = SYNTAX_DOUBLE;
    else if (strcmp(word, "min-idle-time") == 0 && strcmp(row->name, "xpending") == 0)
        *type = SYNTAX_INTEGER;
    else if (strcmp(word, "timeout") == 0 && row->flags & CMD_BLOCKING)
        *type = SYNTAX_DOUBLE;
    else if (strcmp(word, "increment") == 0 && ends_with(row->name, "float"))
        *type = SYNTAX_DOUBLE;
    else
        return false;
    return true;
}

static enum syntax_type type_of(const struct parser *p, const char *word)
{
    static const char *const keys[] = {
        "key", "key1", "key2", "newkey", "destkey", "sourcekey", "source", "destination",
        "src", "dst", NULL,
    };
    static const char *const integers[] = {
        "bit", "bits", "client-id", "cluster-bus-port", "config-epoch", "count", "cursor", "db",
        "decrement", "destination-db", "end", "end-slot", "entries-added", "entries-read",
        "frequency", "increment", "index", "index1", "index2", "len", "limit", "milliseconds",
        "min-match-len", "ms", "num-matches", "numkeys", "numlocal", "numreplicas", "offset",
        "port", "protover", "rank", "seconds", "slot", "start", "start-slot", "stop", "timeout",
        "ttl", "version", "weight", NULL,
    };
    static const char *const doubles[] = {
        "height", "latitude", "longitude", "radius", "score", "width", NULL,
    };
    enum syntax_type type;
    if (type_by_command(p->row, word, &type))
        return type;
    if (p->spec_count && is_one_of(word, keys))
        return SYNTAX_KEY;
    if (ends_with(word, "pattern") && strcmp(word, "library-name-pattern") != 0)
        return SYNTAX_PATTERN;
    if (strncmp(word, "unix-time", 9) == 0)
        return SYNTAX_UNIX_TIME;
    if (is_one_of(word, integers))
        return SYNTAX_INTEGER;
    return is_one_of(word, doubles) ? SYNTAX_DOUBLE : SYNTAX_STRING;
}

/* ---- Text ---- */

static void skip_blanks(struct parser *p)
{
    while (*p->at == ' ')
        p->at++;
}

static bool is_word_byte(char c)
{
    return c && !strchr(" []<>|", c);
}

static bool is_token(const char *start, const char *end)
{
    for (const char *c = start; c < end; c++)
        if (islower((unsigned char)*c))
            return false;
    return true;
}

/* The same text but for blanks. */
static bool same_text(const char *a, const char *a_end, const char *b, const char *b_end)
{
    for (;; a++, b++) {
        while (a < a_end && *a == ' ')
            a++;
        while (b < b_end && *b == ' ')
            b++;
        if (a == a_end || b == b_end)
            return a == a_end && b == b_end;
        if (*a != *b)
            return false;
    }
}

/* ---- Sequences ---- */

static void sequence_deinit(struct sequence *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        arg_deinit(&s->items[i].arg);
    s->count = 0;
}

/* Joins tokens to the arguments right behind them and appends all to `list`, which owns them
 * then. An optional argument is never a token's own: in "COUNT count [ANY]" the token has one. */
static void join_tokens(struct item *items, uint32_t count, struct syntax_list *list)
{
    for (uint32_t i = 0; i < count;) {
        struct syntax_arg arg = items[i].arg;
        uint32_t next = i + 1;
        while (items[i].token && next < count && !items[next].token &&
               !(items[next].arg.flags & SYNTAX_OPTIONAL))
            next++;
        struct syntax_arg *only = next - i == 2 ? &items[i + 1].arg : NULL;
        if (only && !only->token) {
            bool group = only->type == SYNTAX_ONEOF || only->type == SYNTAX_BLOCK;
            only->token = arg.token;
            mem_free(group ? only->name : arg.name);
            only->name = group ? arg.name : only->name;
            arg = *only;
        } else if (next - i > 1) {
            struct syntax_list own = {0};
            join_tokens(items + i + 1, next - i - 1, &own);
            mem_free(arg.name);
            arg = make_group(SYNTAX_BLOCK, arg.token, own);
        }
        list_add(list, arg);
        i = next;
    }
}

/* One argument made of the last `count` items: themselves joined, or a block of them. */
static struct syntax_arg take_last(struct sequence *s, uint32_t count)
{
    assert(count >= 1 && count <= s->count);
    struct syntax_list list = {0};
    join_tokens(s->items + s->count - count, count, &list);
    s->count -= count;
    if (list.count > 1)
        return make_group(SYNTAX_BLOCK, NULL, list);
    struct syntax_arg arg = list.args[0];
    mem_free(list.args);
    return arg;
}

/* A repetition's text [start, end) was read: marks what it repeats. */
static bool repeat_last(struct sequence *s, struct group *g, const char *start, const char *end)
{
    for (uint32_t n = 1; n <= s->count; n++) {
        struct item *first = &s->items[s->count - n];
        const char *last_end = s->items[s->count - 1].end;
        if (!same_text(first->start, last_end, start, end))
            continue;
        struct item joined = {.start = first->start, .end = last_end, .arg = take_last(s, n)};
        joined.arg.flags |= SYNTAX_MULTIPLE;
        if (joined.arg.token)
            joined.arg.flags |= SYNTAX_MULTIPLE_TOKEN;
        s->items[s->count++] = joined;
        return true;
    }
    const char *behind = s->count ? s->items[s->count - 1].end : g->start;
    g->repeats = same_text(g->start, behind, start, end);
    return g->repeats;
}

/* Makes one argument of a group's alternatives, which it takes over. */
static struct syntax_arg close_group(struct syntax_list *alternatives, const struct group *g)
{
    struct syntax_arg arg;
    if (alternatives->count > 1) {
        arg = make_group(SYNTAX_ONEOF, NULL, *alternatives);
    } else {
        arg = alternatives->args[0];
        mem_free(alternatives->args);
    }
    if (g->repeats)
        arg.flags |= SYNTAX_MULTIPLE;
    return arg;
}

/* "..." before the bracket that closes a repetition. */
static bool take_dots(struct parser *p)
{
    skip_blanks(p);
    if (strncmp(p->at, "...", 3) != 0)
        return false;
    p->at += 3;
    skip_blanks(p);
    return true;
}

static bool parse_bracket(struct parser *p, struct sequence *s, struct group *outer)
{
    char close = *p->at == '[' ? ']' : '>';
    struct item item = {.start = p->at++};
    struct group g = {.start = p->at};
    struct syntax_list alternatives = {0};
    bool read = parse_choice(p, &g, &alternatives);
    const char *text_end = p->at;
    bool dots = read && take_dots(p);
    if (!read || *p->at != close) {
        syntax_deinit(&alternatives);
        return false;
    }
    item.end = ++p->at;
    if (dots && repeat_last(s, outer, g.start, text_end)) {
        syntax_deinit(&alternatives);
        return true;
    }
    item.arg = close_group(&alternatives, &g);
    item.arg.flags |= (close == ']' ? SYNTAX_OPTIONAL : 0) | (dots ? SYNTAX_MULTIPLE : 0);
    s->items[s->count++] = item;
    return true;
}

static void parse_word(struct parser *p, struct sequence *s)
{
    const char *start = p->at;
    while (is_word_byte(*p->at))
        p->at++;
    struct syntax_arg arg = {.key_spec = -1, .name = copy_text(start, (size_t)(p->at - start))};
    bool token = is_token(start, p->at);
    if (token) {
        arg.token = arg.name;
        arg.name = name_token(arg.token);
    }
    arg.type = token ? SYNTAX_PURE_TOKEN : type_of(p, arg.name);
    s->items[s->count++] = (struct item){start, p->at, token, arg};
}

/* Items up to a '|', a closing bracket, dots or the end. */
static bool parse_sequence(struct parser *p, struct group *g, struct sequence *s)
{
    for (;;) {
        skip_blanks(p);
        if (!*p->at || strchr("|]>", *p->at) || strncmp(p->at, "...", 3) == 0)
            return s->count > 0;
        if (s->count == ITEMS_MAX)
            return false;
        if (is_word_byte(*p->at))
            parse_word(p, s);
        else if (!parse_bracket(p, s, g))
            return false;
    }
}

/* Alternatives separated by '|', each as one argument. */
static bool parse_choice(struct parser *p, struct group *g, struct syntax_list *alternatives)
{
    bool read = p->depth++ < DEPTH_MAX;
    while (read) {
        struct sequence s = {.count = 0};
        read = parse_sequence(p, g, &s);
        if (!read) {
            sequence_deinit(&s);
            break;
        }
        list_add(alternatives, take_last(&s, s.count));
        if (*p->at != '|')
            break;
        p->at++;
    }
    p->depth--;
    return read;
}

/* Keys get their specs in the order of both; further keys share the last spec, as LCS's two do.
 * SORT's patterns share the one after its key's. */
static void number_keys(const struct command *row, struct syntax_list *list, uint32_t spec_count,
                        uint32_t *next)
{
    for (uint32_t i = 0; i < list->count; i++) {
        struct syntax_arg *arg = &list->args[i];
        if (arg->type == SYNTAX_KEY) {
            arg->key_spec = (int)*next;
            *next += *next + 1 < spec_count;
        } else if (arg->type == SYNTAX_PATTERN && (row->flags & CMD_PATTERN_KEYS)) {
            arg->key_spec = 1;
            *next = spec_count - 1;
        }
        number_keys(row, &arg->children, spec_count, next);
    }
}

bool syntax_parse(const struct command *row, struct syntax_list *list)
{
    *list = (struct syntax_list){0};
    if (!row->syntax || !*row->syntax)
        return true;
    struct parser p = {.row = row, .at = row->syntax};
    while (p.spec_count < KEY_SPECS_MAX && row->keys[p.spec_count].find != KEY_FIND_NONE)
        p.spec_count++;
    struct group g = {.start = p.at};
    struct sequence s = {.count = 0};
    bool read = parse_sequence(&p, &g, &s);
    if (read && !*p.at)
        join_tokens(s.items, s.count, list);
    else
        sequence_deinit(&s);
    uint32_t next = 0;
    number_keys(row, list, p.spec_count, &next);
    return read && !*p.at;
}
