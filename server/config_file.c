/* Where values come from at start: files, what they include, standard input, the command line.
 *
 * A reader is one source being read; an include opens another within it. The first mistake ends
 * the reading, with a message that begins with its place ("lasca.conf:12: ", "command line: ").
 *
 * What leaves this process's memory (opening files, moving to `dir`) happens only when the reader
 * is not pure, so that config_parse can be fed anything. */
#include "server/config_option.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/mem.h"
#include "server/start_check.h"

#define INCLUDE_DEPTH_MAX 16
#define FILE_SIZE_MAX (16u << 20) /* a device or a data file named by mistake ends here */

struct reader {
    struct config *config;
    const char *name; /* of the file, as it was given; NULL: the command line */
    uint32_t line;
    uint32_t depth;   /* files open around this one */
    bool pure;
    struct config_complaint *complaint; /* the first mistake, or NULL */
    char *error;
    size_t error_size;
};

static bool read_file(const struct reader *from, const char *path);

static const char *dashes(const struct reader *r)
{
    return r->name ? "" : "--";
}

static void begin_error(const struct reader *r, struct buf *text)
{
    buf_init(text);
    if (r->name)
        buf_printf(text, "%s:%u: ", r->name, r->line);
    else
        buf_append_text(text, "command line: ");
}

static bool end_error(const struct reader *r, struct buf *text)
{
    config_error_take(text, r->error, r->error_size);
    return false;
}

__attribute__((format(printf, 2, 3))) static bool fail(const struct reader *r, const char *format,
                                                       ...)
{
    char message[CONFIG_ERROR_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    struct buf text;
    begin_error(r, &text);
    buf_append_text(&text, message);
    return end_error(r, &text);
}

#define SHOWN_MAX 100

static bool fail_unknown(const struct reader *r, struct slice name)
{
    if (r->complaint)
        buf_append_text(&r->complaint->reason, "Bad directive or wrong number of arguments");
    const char *d = dashes(r);
    int shown = name.size < SHOWN_MAX ? (int)name.size : SHOWN_MAX;
    const char *equals = name.size ? memchr(name.data, '=', name.size) : NULL;
    if (equals) {
        struct slice before = {name.data, (size_t)(equals - name.data)};
        const struct config_option *o = config_option_find(before);
        if (o)
            return fail(r, "unknown option '%s%.*s': write %s%s %.*s", d, shown, name.data, d,
                        o->name, shown - (int)before.size - 1, equals + 1);
    }
    const struct config_option *near = config_option_nearest(name);
    if (near)
        return fail(r, "unknown option '%s%.*s': did you mean '%s%s'?", d, shown, name.data, d,
                    near->name);
    return fail(r, "unknown option '%s%.*s': conf/lasca.conf lists those there are", d, shown,
                name.data);
}

static bool enter_directory(const struct reader *r)
{
    const char *dir = r->config->dir;
    if (chdir(dir) == 0)
        return true;
    return fail(r, "%sdir '%.*s': %s: %s", dashes(r), SHOWN_MAX, dir, strerror(errno),
                errno == ENOENT ? "create it, or name another directory"
                                : "name a directory that this user may enter");
}

static bool set_option(const struct reader *r, const struct config_option *o,
                       const struct slice *words, uint32_t count)
{
    struct config_fault fault = {.kind = FAULT_COUNT};
    if (count > 0 || o->flags & OPTION_NO_WORDS)
        fault = config_value_set(o, r->config, words, count);
    if (fault.kind != FAULT_NONE) {
        struct buf text;
        begin_error(r, &text);
        config_fault_explain(o, &fault, dashes(r), &text);
        if (r->complaint)
            config_fault_reply(o, &fault, &r->complaint->reason);
        return end_error(r, &text);
    }
    return r->pure || !(o->flags & OPTION_DIRECTORY) || enter_directory(r);
}

/* The option's value is one word that holds several: "normal 0 0 0". */
static bool set_nested(const struct reader *r, const struct config_option *o, struct slice value)
{
    struct config_words words;
    if (!config_words_split(&words, value))
        return fail(r, "%s%s: unbalanced quotes within its value", dashes(r), o->name);
    bool ok = set_option(r, o, words.items, words.count);
    config_words_deinit(&words);
    return ok;
}

/* A wildcard that matches nothing is no mistake: a directory of fragments may be empty. */
static bool include_matching(const struct reader *r, const char *pattern)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) != 0)
        return true;
    bool ok = true;
    for (size_t i = 0; ok && i < found.gl_pathc; i++)
        ok = read_file(r, found.gl_pathv[i]);
    globfree(&found);
    return ok;
}

static bool include(const struct reader *r, const struct slice *words, uint32_t count)
{
    if (count != 2)
        return fail(r, "%sinclude wants one path, got %u", dashes(r), count - 1);
    if (r->pure)
        return fail(r, "%sinclude is not possible here", dashes(r));
    char *path = config_string_copy(words[1]);
    bool ok;
    if (r->depth >= INCLUDE_DEPTH_MAX)
        ok = fail(r, "include '%.*s': more than %d files deep: does a file include itself?",
                  SHOWN_MAX, path, INCLUDE_DEPTH_MAX);
    else if (strpbrk(path, "*?["))
        ok = include_matching(r, path);
    else
        ok = read_file(r, path);
    mem_free(path);
    return ok;
}

static char *place_of(const struct reader *r)
{
    struct buf text;
    buf_init(&text);
    if (r->name)
        buf_printf(&text, "%s:%u", r->name, r->line);
    else
        buf_append_text(&text, "command line");
    char *place = config_string_copy(buf_slice(&text));
    buf_deinit(&text);
    return place;
}

/* They are kept as C strings. */
static bool has_zero_byte(const struct slice *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (words[i].size && memchr(words[i].data, '\0', words[i].size))
            return true;
    }
    return false;
}

/* acl.c divides the line again: what it says is checked where users are known. */
static bool keep_user(const struct reader *r, const struct slice *words, uint32_t count)
{
    struct config *c = r->config;
    if (count < 2 || has_zero_byte(words, count))
        return fail(r, "%suser wants a name and rules, without zero bytes", dashes(r));
    struct buf line;
    buf_init(&line);
    buf_append_text(&line, "user");
    for (uint32_t i = 1; i < count; i++)
        config_append_word(&line, words[i]);
    c->users = mem_realloc(c->users, (c->user_count + 1) * sizeof(*c->users));
    c->user_places = mem_realloc(c->user_places, (c->user_count + 1) * sizeof(*c->user_places));
    c->users[c->user_count] = config_string_copy(buf_slice(&line));
    c->user_places[c->user_count++] = place_of(r);
    buf_deinit(&line);
    return true;
}

/* Whether there is such a command is known when there are commands: registry_rename. */
static bool keep_rename(const struct reader *r, const struct slice *words, uint32_t count)
{
    struct config *c = r->config;
    if (count != 3 || has_zero_byte(words, count))
        return fail(r, "%srename-command wants the command's name and a new one, or \"\" for none",
                    dashes(r));
    c->renames = mem_realloc(c->renames, (c->rename_count + 1) * sizeof(*c->renames));
    c->renames[c->rename_count++] = (struct config_rename){
        .from = config_string_copy(words[1]), .to = config_string_copy(words[2]),
        .place = place_of(r),
    };
    return true;
}

static bool refuse_module(const struct reader *r, const struct slice *words, uint32_t count)
{
    return fail(r, "%sloadmodule: this server has no modules: remove the line, and what needs it",
                dashes(r));
}

static bool refuse_sentinel(const struct reader *r, const struct slice *words, uint32_t count)
{
    return fail(r, "sentinel directive while not in sentinel mode: this is redis-sentinel's file, "
                   "which redis-sentinel reads");
}

/* Options that Redis had once, and passes over. */
static bool pass_over(const struct reader *r, const struct slice *words, uint32_t count)
{
    return count == 2 ? true : fail(r, "%.*s wants one value", (int)words[0].size, words[0].data);
}

/* Lines that are no options. */
static const struct {
    const char *name;
    bool (*read)(const struct reader *r, const struct slice *words, uint32_t count);
} directives[] = {
    {"include", include},
    {"user", keep_user},
    {"rename-command", keep_rename},
    {"loadmodule", refuse_module},
    {"sentinel", refuse_sentinel},
    {"list-max-ziplist-entries", pass_over},
    {"list-max-ziplist-value", pass_over},
    {"lua-replicate-commands", pass_over},
};

bool config_is_directive(struct slice name)
{
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
        if (slice_is(name, directives[i].name))
            return directives[i].read != pass_over;
    }
    return false;
}

static bool read_directive(const struct reader *r, const struct slice *words, uint32_t count)
{
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
        if (slice_is(words[0], directives[i].name))
            return directives[i].read(r, words, count);
    }
    const struct config_option *o = config_option_find(words[0]);
    if (!o)
        return fail_unknown(r, words[0]);
    if (o->flags & OPTION_MANY && count == 2 && words[1].size)
        return set_nested(r, o, words[1]);
    return set_option(r, o, words + 1, count - 1);
}

static void complain(const struct reader *r, const struct slice *words, uint32_t count)
{
    struct config_complaint *x = r->complaint;
    if (!x || x->line.size)
        return; /* it was within a file that this line includes */
    if (r->name)
        buf_printf(&x->place, "Reading the configuration file, at line %u", r->line);
    else
        buf_append_text(&x->place, "Reading the command line");
    buf_append_slice(&x->line, words[0]);
    const struct config_option *o = config_option_find(words[0]);
    bool secret = o && o->flags & OPTION_SECRET;
    for (uint32_t i = 1; i < count; i++)
        config_append_quoted(&x->line, secret ? slice_of("(redacted)") : words[i]);
}

/* A line, or an option of the command line with its values. */
static bool read_words(const struct reader *r, const struct slice *words, uint32_t count)
{
    bool ok = read_directive(r, words, count);
    if (!ok)
        complain(r, words, count);
    return ok;
}

static struct slice trim(struct slice s)
{
    while (s.size && strchr(" \t\r", s.data[0]) && s.data[0])
        s = (struct slice){s.data + 1, s.size - 1};
    while (s.size && strchr(" \t\r", s.data[s.size - 1]) && s.data[s.size - 1])
        s.size--;
    return s;
}

static bool read_line(const struct reader *r, struct slice line)
{
    line = trim(line);
    if (!line.size || line.data[0] == '#')
        return true;
    struct config_words words;
    if (!config_words_split(&words, line))
        return fail(r, "unbalanced quotes: a value in quotes must end with one, before a blank");
    bool ok = !words.count || read_words(r, words.items, words.count);
    config_words_deinit(&words);
    return ok;
}

static bool read_text(struct reader *r, struct slice text)
{
    while (text.size) {
        const char *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        r->line++;
        if (!read_line(r, (struct slice){text.data, size}))
            return false;
        size += end != NULL;
        text = (struct slice){text.data + size, text.size - size};
    }
    return true;
}

bool config_parse(struct config *c, struct slice text, const char *name, char *error,
                  size_t error_size)
{
    struct reader r = {.config = c, .name = name, .pure = true, .error = error,
                       .error_size = error_size};
    return read_text(&r, text);
}

/* All of an open file. `from` is where it was asked for. */
static bool slurp(const struct reader *from, int fd, const char *path, struct buf *text)
{
    ssize_t n;
    do {
        char *to = buf_reserve(text, 64 * 1024);
        n = read(fd, to, 64 * 1024);
        if (n > 0)
            text->size += (size_t)n;
        if (text->size > FILE_SIZE_MAX)
            return fail(from, "'%.*s' is larger than %u bytes: is it a configuration?", SHOWN_MAX,
                        path, FILE_SIZE_MAX);
    } while (n > 0 || (n < 0 && errno == EINTR));
    if (n < 0)
        return fail(from, "cannot read '%.*s': %s%s", SHOWN_MAX, path, strerror(errno),
                    errno == EISDIR ? ": name a file in it" : "");
    return true;
}

static bool read_descriptor(const struct reader *from, int fd, const char *path)
{
    struct reader r = *from;
    r.name = path;
    r.line = 0;
    r.depth = from->depth + 1;
    struct buf text;
    buf_init(&text);
    bool ok = slurp(from, fd, path, &text) && read_text(&r, buf_slice(&text));
    buf_deinit(&text);
    return ok;
}

static bool fail_to_open(const struct reader *from, const char *path)
{
    char user[START_USER_SIZE];
    int error = errno;
    if (config_option_find(slice_of(path)))
        return fail(from, "cannot open '%.*s': %s: for the option write --%.*s VALUE", SHOWN_MAX,
                    path, strerror(error), SHOWN_MAX, path);
    start_user_name(user);
    if (error == EACCES)
        return fail(from, "cannot open '%.*s': %s: user %s may not read it", SHOWN_MAX, path,
                    strerror(error), user);
    return fail(from, "cannot open '%.*s': %s: name a configuration that is there",
                SHOWN_MAX, path, strerror(error));
}

static bool read_file(const struct reader *from, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_to_open(from, path);
    bool ok = read_descriptor(from, fd, path);
    close(fd);
    return ok;
}

/* "-" stands for standard input where it is the first or the last argument. */
static bool is_stdin(int argc, char **argv, int i)
{
    return strcmp(argv[i], "-") == 0 && (i == 1 || i == argc - 1);
}

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

/* One option: argv[*at] is "--name", or name and values in one argument, "--name value". The
 * arguments up to the next "--" are more values; the first value may itself begin with "--", but
 * save's may not, so that a bare --save means save "". Leaves *at on what follows. */
static bool read_option(const struct reader *r, int argc, char **argv, int *at)
{
    struct config_words head;
    /* Redis takes the first option behind the file without "--", too. */
    bool bare = *at == 2 && config_option_find(slice_of(argv[2]));
    const char *name = argv[(*at)++];
    if (!is_option(name) && !bare)
        return fail(r, "'%.*s' is not an option: write --name value", SHOWN_MAX, name);
    if (!config_words_split(&head, slice_of(bare ? name : name + 2)))
        return fail(r, "unbalanced quotes in '%.*s'", SHOWN_MAX, name);
    uint32_t count = head.count;
    struct slice *words = mem_alloc((count + (size_t)argc) * sizeof words[0]);
    if (count)
        memcpy(words, head.items, count * sizeof words[0]);
    bool any = count != 1 || slice_is(words[0], "save");
    while (*at < argc && !is_stdin(argc, argv, *at) && !(any && is_option(argv[*at]))) {
        words[count++] = slice_of(argv[(*at)++]);
        any = true;
    }
    bool ok = count && head.count ? read_words(r, words, count)
                                  : fail(r, "'--' names no option: write --name value");
    mem_free(words);
    config_words_deinit(&head);
    return ok;
}

static bool read_options(const struct reader *r, int argc, char **argv, int at)
{
    while (at < argc) {
        if (is_stdin(argc, argv, at))
            at++;
        else if (!read_option(r, argc, argv, &at))
            return false;
    }
    return true;
}

/* A path that stays right when `dir` moves the process. */
static char *absolute_path(const char *path)
{
    char at[PATH_MAX];
    if (path[0] == '/' || !getcwd(at, sizeof at))
        return config_string_copy(slice_of(path));
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    struct buf joined;
    buf_init(&joined);
    buf_printf(&joined, "%s/%s", strcmp(at, "/") == 0 ? "" : at, path);
    char *absolute = config_string_copy(buf_slice(&joined));
    buf_deinit(&joined);
    return absolute;
}

static bool read_sources(const struct reader *r, int argc, char **argv)
{
    int at = 1;
    if (argc > 1 && argv[1][0] != '-') {
        mem_free(r->config->config_file);
        r->config->config_file = absolute_path(argv[1]);
        at = 2;
        if (!read_file(r, argv[1]))
            return false;
    }
    bool with_stdin = (argc > 1 && is_stdin(argc, argv, 1)) ||
                      (argc > 1 && is_stdin(argc, argv, argc - 1));
    if (with_stdin && !read_descriptor(r, STDIN_FILENO, "standard input"))
        return false;
    return read_options(r, argc, argv, at);
}

static void keep_directory(struct config *c)
{
    char at[PATH_MAX];
    if (getcwd(at, sizeof at)) {
        mem_free(c->dir);
        c->dir = config_string_copy(slice_of(at));
    }
}

bool config_enter_directory(struct config *c)
{
    if (chdir(c->dir) != 0)
        return false;
    keep_directory(c);
    return true;
}

bool config_load(struct config *c, int argc, char **argv, struct config_complaint *complaint,
                 char *error, size_t error_size)
{
    struct reader r = {.config = c, .complaint = complaint, .error = error,
                       .error_size = error_size};
    if (!read_sources(&r, argc, argv))
        return false;
    keep_directory(c);
    return true;
}
