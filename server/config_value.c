/* An option's value: from words to its field in struct config, and back to text.
 *
 * Owned memory: strings, bytes and the bind list. Everything else of a field is plain and copied
 * with the struct. */
#include "server/config_option.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "proto/number.h"
#include "server/machine.h"
#include "shard/event.h"

/* CONFIG GET's names of the classes of output_limits, and what else is understood for them. */
static const char *const limit_classes[] = {"normal", "slave", "pubsub"};
#define LIMIT_CLASSES 3

static void *field(const struct config_option *o, const struct config *c)
{
    return (char *)(uintptr_t)c + o->offset;
}

char *config_string_copy(struct slice s)
{
    char *copy = mem_alloc(s.size + 1);
    if (s.size)
        memcpy(copy, s.data, s.size);
    copy[s.size] = '\0';
    return copy;
}

static enum fault_kind set_bool(bool *to, struct slice word)
{
    if (!slice_is(word, "yes") && !slice_is(word, "no"))
        return FAULT_BOOL;
    *to = slice_is(word, "yes");
    return FAULT_NONE;
}

#define HZ_MIN 1
#define HZ_MAX 500

static enum fault_kind set_integer(const struct config_option *o, int64_t *to, struct slice word)
{
    int64_t value;
    if (!number_parse_integer(word, &value))
        return FAULT_INTEGER;
    if (value < o->min || value > o->max)
        return FAULT_RANGE;
    if (o->flags & OPTION_HZ)
        value = value < HZ_MIN ? HZ_MIN : value > HZ_MAX ? HZ_MAX : value;
    *to = value;
    return FAULT_NONE;
}

static enum fault_kind set_octal(const struct config_option *o, int64_t *to, struct slice word)
{
    int64_t value = 0;
    if (!word.size || word.size > 6)
        return FAULT_OCTAL;
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < '0' || word.data[i] > '7')
            return FAULT_OCTAL;
        value = value * 8 + (word.data[i] - '0');
    }
    if (value < o->min || value > o->max)
        return FAULT_RANGE;
    *to = value;
    return FAULT_NONE;
}

static enum fault_kind set_memory(const struct config_option *o, int64_t *to, struct slice word)
{
    uint64_t bytes;
    if (!number_parse_memory(word, &bytes))
        return FAULT_MEMORY;
    if (bytes > (uint64_t)o->max || bytes < (uint64_t)o->min)
        return FAULT_RANGE;
    *to = (int64_t)bytes;
    return FAULT_NONE;
}

static enum fault_kind parse_percent(struct slice word, int64_t *percent)
{
    if (word.size < 2 || word.data[word.size - 1] != '%')
        return FAULT_PERCENT;
    word.size--;
    if (!number_parse_integer(word, percent) || *percent < 0)
        return FAULT_PERCENT;
    return *percent > 100 ? FAULT_PERCENT_RANGE : FAULT_NONE;
}

/* Bytes, or a percentage: of the memory there is, settled here and now, or one kept below 0. */
static enum fault_kind set_memory_or_percent(const struct config_option *o, int64_t *to,
                                             struct slice word)
{
    enum fault_kind fault = set_memory(o, to, word);
    if (fault != FAULT_MEMORY)
        return fault;
    int64_t percent = 0;
    fault = parse_percent(word, &percent);
    if (fault == FAULT_NONE && o->type == OPTION_MEMORY_PERCENT)
        *to = -percent;
    else if (fault == FAULT_NONE)
        *to = (int64_t)(machine_memory_usable() / 100 * (uint64_t)percent);
    return fault;
}

static enum fault_kind set_enum(const struct config_option *o, int *to, struct slice word)
{
    for (const struct option_name *n = o->names; n->name; n++) {
        if (slice_is(word, n->name)) {
            *to = n->value;
            return FAULT_NONE;
        }
    }
    return FAULT_ENUM;
}

static void set_string(char **to, struct slice value)
{
    char *copy = config_string_copy(value);
    mem_free(*to);
    *to = copy;
}

static void set_bytes(struct config_bytes *to, struct slice value)
{
    char *copy = config_string_copy(value);
    mem_free(to->data);
    *to = (struct config_bytes){copy, value.size};
}

static void free_bind(struct config *c)
{
    for (uint32_t i = 0; i < c->bind_count; i++)
        mem_free(c->bind[i]);
    c->bind_count = 0;
}

bool config_may_be_address(struct slice word)
{
    for (size_t i = 0; i < word.size; i++) {
        char c = word.data[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\'')
            return false;
    }
    return word.size > 0;
}

static struct config_fault set_bind(struct config *c, const struct slice *words, uint32_t count)
{
    if (count > CONFIG_BIND_MAX)
        return (struct config_fault){FAULT_BIND_COUNT, words[CONFIG_BIND_MAX], count, NULL};
    if (count == 1 && words[0].size == 0)
        count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!config_may_be_address(words[i]))
            return (struct config_fault){FAULT_BIND_ADDRESS, words[i], count, NULL};
    }
    free_bind(c);
    for (uint32_t i = 0; i < count; i++)
        c->bind[c->bind_count++] = config_string_copy(words[i]);
    return (struct config_fault){.kind = FAULT_NONE};
}

static int limit_class(struct slice word)
{
    if (slice_is(word, "replica"))
        word = slice_of("slave");
    for (int i = 0; i < LIMIT_CLASSES; i++) {
        if (slice_is(word, limit_classes[i]))
            return i;
    }
    return -1;
}

/* Groups of class, hard, soft, seconds; classes not named keep their limits. */
static struct config_fault set_limits(struct config *c, const struct slice *words, uint32_t count)
{
    if (count % 4)
        return (struct config_fault){FAULT_LIMIT_COUNT, words[0], count, NULL};
    for (uint32_t i = 0; i < count; i += 4) {
        int class = limit_class(words[i]);
        if (class < 0)
            return (struct config_fault){FAULT_LIMIT_CLASS, words[i], count, NULL};
        struct config_output_limit limit;
        if (!number_parse_memory(words[i + 1], &limit.hard))
            return (struct config_fault){FAULT_LIMIT_VALUE, words[i + 1], count, NULL};
        if (!number_parse_memory(words[i + 2], &limit.soft))
            return (struct config_fault){FAULT_LIMIT_VALUE, words[i + 2], count, NULL};
        if (!number_parse_unsigned(words[i + 3], &limit.soft_s) || limit.soft_s > INT32_MAX)
            return (struct config_fault){FAULT_LIMIT_VALUE, words[i + 3], count, NULL};
        c->output_limits[class] = limit;
    }
    return (struct config_fault){.kind = FAULT_NONE};
}

static bool is_save_point(const struct slice *words)
{
    int64_t seconds, changes;
    return number_parse_integer(words[0], &seconds) && seconds >= 1 &&
           number_parse_integer(words[1], &changes) && changes >= 0 && changes <= INT32_MAX;
}

/* Several lines add up; the first replaces the default, and an empty value all before it. */
static struct config_fault set_save(const struct config_option *o, struct config *c,
                                    const struct slice *words, uint32_t count)
{
    bool clears = count == 0 || (count == 1 && words[0].size == 0);
    if (clears)
        count = 0;
    if (count % 2)
        return (struct config_fault){FAULT_SAVE, words[0], count, NULL};
    for (uint32_t i = 0; i < count; i += 2)
        if (!is_save_point(words + i))
            return (struct config_fault){FAULT_SAVE, words[i], count, NULL};
    struct buf joined;
    buf_init(&joined);
    if (c->save_adds && !clears)
        buf_append_text(&joined, c->save);
    for (uint32_t i = 0; i < count; i++) {
        if (joined.size)
            buf_append(&joined, " ", 1);
        buf_append_slice(&joined, words[i]);
    }
    char **to = field(o, c);
    mem_free(*to);
    *to = config_string_copy(buf_slice(&joined));
    buf_deinit(&joined);
    c->save_adds = true;
    return (struct config_fault){.kind = FAULT_NONE};
}

bool config_next_save_point(const char **at, struct config_save_point *point)
{
    char *end;
    if (!**at)
        return false;
    point->seconds = strtoll(*at, &end, 10);
    point->changes = strtoll(end, &end, 10);
    *at = end;
    return true;
}

/* Letters of classes, in the order in which they are printed: what A stands for first. Redis prints
 * the one behind that, too, only where not all of them are set. */
static const struct {
    char letter;
    unsigned class;
} notify_letters[] = {
    {'g', NOTIFY_GENERIC}, {'$', NOTIFY_STRING},  {'l', NOTIFY_LIST},     {'s', NOTIFY_SET},
    {'h', NOTIFY_HASH},    {'z', NOTIFY_ZSET},    {'x', NOTIFY_EXPIRED},  {'e', NOTIFY_EVICTED},
    {'t', NOTIFY_STREAM},  {'d', NOTIFY_MODULE},  {'n', NOTIFY_NEW},      {'K', NOTIFY_KEYSPACE},
    {'E', NOTIFY_KEYEVENT}, {'m', NOTIFY_KEY_MISS}, {'A', NOTIFY_ALL},
};
#define NOTIFY_LETTERS (sizeof(notify_letters) / sizeof(notify_letters[0]))

static enum fault_kind set_notify(int *to, struct slice word)
{
    unsigned classes = 0;
    for (size_t i = 0; i < word.size; i++) {
        size_t at = 0;
        while (at < NOTIFY_LETTERS && notify_letters[at].letter != word.data[i])
            at++;
        if (at == NOTIFY_LETTERS)
            return FAULT_NOTIFY;
        classes |= notify_letters[at].class;
    }
    *to = (int)classes;
    return FAULT_NONE;
}

static bool is_path(struct slice word)
{
    return word.size && (memchr(word.data, '/', word.size) || memchr(word.data, '\\', word.size));
}

/* As the names spell it, where it is to be one of some. */
static enum fault_kind set_word(const struct config_option *o, char **to, struct slice word)
{
    const struct option_name *n = o->names;
    while (n && n->name && !slice_is(word, n->name))
        n++;
    if (n && !n->name)
        return FAULT_ENUM;
    set_string(to, n ? slice_of(n->name) : word);
    return FAULT_NONE;
}

static enum fault_kind set_one(const struct config_option *o, struct config *c, struct slice word)
{
    switch (o->type) {
    case OPTION_BOOL: return set_bool(field(o, c), word);
    case OPTION_INTEGER: return set_integer(o, field(o, c), word);
    case OPTION_MEMORY_SHARE:
    case OPTION_MEMORY_PERCENT: return set_memory_or_percent(o, field(o, c), word);
    case OPTION_MEMORY: return set_memory(o, field(o, c), word);
    case OPTION_OCTAL: return set_octal(o, field(o, c), word);
    case OPTION_ENUM: return set_enum(o, field(o, c), word);
    case OPTION_NOTIFY: return set_notify(field(o, c), word);
    case OPTION_BYTES: set_bytes(field(o, c), word); return FAULT_NONE;
    default:
        assert(o->type == OPTION_STRING);
        if (!word.size && o->flags & OPTION_NOT_EMPTY)
            return FAULT_EMPTY;
        if (o->flags & (OPTION_FILE_NAME | OPTION_DIRECTORY_NAME) && is_path(word))
            return FAULT_PATH;
        return set_word(o, field(o, c), word);
    }
}

static struct config_fault set_list(const struct config_option *o, struct config *c,
                                    const struct slice *words, uint32_t count)
{
    assert(o->type == OPTION_STRING);
    struct buf joined;
    buf_init(&joined);
    struct config_fault fault = config_list_join(o, words, count, &joined);
    if (fault.kind == FAULT_NONE)
        set_string(field(o, c), buf_slice(&joined));
    buf_deinit(&joined);
    return fault;
}

static struct config_fault set_words(const struct config_option *o, struct config *c,
                                     const struct slice *words, uint32_t count)
{
    if (o->type == OPTION_BIND)
        return set_bind(c, words, count);
    if (o->type == OPTION_OUTPUT_LIMITS)
        return set_limits(c, words, count);
    if (o->type == OPTION_SAVE)
        return set_save(o, c, words, count);
    if (o->flags & OPTION_MANY)
        return set_list(o, c, words, count);
    if (count != 1)
        return (struct config_fault){.kind = FAULT_COUNT, .count = count};
    return (struct config_fault){set_one(o, c, words[0]), words[0], count, NULL};
}

bool config_value_is(const struct config_option *o, const struct config *c, struct slice printed)
{
    struct buf value;
    buf_init(&value);
    config_value_print(o, c, &value);
    bool is = slice_equal(buf_slice(&value), printed);
    buf_deinit(&value);
    return is;
}

bool config_value_equal(const struct config_option *o, const struct config *a,
                        const struct config *b)
{
    struct buf value;
    buf_init(&value);
    config_value_print(o, a, &value);
    bool equal = config_value_is(o, b, buf_slice(&value));
    buf_deinit(&value);
    return equal;
}

struct config_fault config_value_set(const struct config_option *o, struct config *c,
                                     const struct slice *words, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (o->type != OPTION_BYTES && words[i].size &&
            memchr(words[i].data, '\0', words[i].size))
            return (struct config_fault){FAULT_ZERO_BYTE, words[i], count, NULL};
    }
    struct config_fault fault = set_words(o, c, words, count);
    if (fault.kind == FAULT_NONE && o->check)
        fault.why = o->check(*(char **)field(o, c));
    if (fault.kind == FAULT_NONE && fault.why)
        fault = (struct config_fault){FAULT_TEXT, slice_of(*(char **)field(o, c)), count,
                                      fault.why};
    if (fault.kind == FAULT_NONE && o->only && !(o->flags & OPTION_ONLY_SET) &&
        !config_value_is(o, c, slice_of(o->only))) {
        fault.kind = FAULT_ONLY;
        if (o->type == OPTION_STRING)
            fault.value = slice_of(*(char **)field(o, c));
    }
    return fault;
}

static const char *name_of(const struct option_name *names, int value)
{
    while (names->name && names->value != value)
        names++;
    assert(names->name);
    return names->name;
}

static void print_percent(int64_t bytes, struct buf *to)
{
    buf_printf(to, bytes < 0 ? "%" PRIu64 "%%" : "%" PRIu64,
               bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes);
}

static void print_bind(const struct config *c, struct buf *to)
{
    for (uint32_t i = 0; i < c->bind_count; i++)
        buf_printf(to, "%s%s", i ? " " : "", c->bind[i]);
}

static void print_limits(const struct config *c, struct buf *to)
{
    for (int i = 0; i < LIMIT_CLASSES; i++) {
        const struct config_output_limit *l = &c->output_limits[i];
        buf_printf(to, "%s%s %" PRIu64 " %" PRIu64 " %" PRIu64, i ? " " : "", limit_classes[i],
                   l->hard, l->soft, l->soft_s);
    }
}

static void print_notify(unsigned classes, struct buf *to)
{
    bool all = (classes & NOTIFY_ALL) == NOTIFY_ALL;
    if (all)
        buf_append_text(to, "A");
    for (size_t i = 0; i < NOTIFY_LETTERS - 1; i++) {
        unsigned class = notify_letters[i].class;
        bool within = class & (NOTIFY_ALL | NOTIFY_NEW);
        if ((classes & class) && !(all && within))
            buf_append(to, &notify_letters[i].letter, 1);
    }
}

void config_value_print(const struct config_option *o, const struct config *c, struct buf *to)
{
    const void *at = field(o, c);
    switch (o->type) {
    case OPTION_BOOL: buf_append_text(to, *(const bool *)at ? "yes" : "no"); break;
    case OPTION_OCTAL: buf_printf(to, "%" PRIo64, (uint64_t)*(const int64_t *)at); break;
    case OPTION_MEMORY_PERCENT: print_percent(*(const int64_t *)at, to); break;
    case OPTION_INTEGER:
    case OPTION_MEMORY_SHARE:
    case OPTION_MEMORY: buf_printf(to, "%" PRId64, *(const int64_t *)at); break;
    case OPTION_ENUM: buf_append_text(to, name_of(o->names, *(const int *)at)); break;
    case OPTION_SAVE:
    case OPTION_STRING: buf_append_text(to, *(char *const *)at); break;
    case OPTION_BYTES: buf_append_slice(to, config_bytes_slice(at)); break;
    case OPTION_BIND: print_bind(c, to); break;
    case OPTION_OUTPUT_LIMITS: print_limits(c, to); break;
    case OPTION_NOTIFY: print_notify((unsigned)*(const int *)at, to); break;
    }
}

static void copy_strings(char ***list, uint32_t count)
{
    char **copies = count ? mem_alloc(count * sizeof(*copies)) : NULL;
    for (uint32_t i = 0; i < count; i++)
        copies[i] = config_string_copy(slice_of((*list)[i]));
    *list = copies;
}

void config_lines_unshare(struct config *c)
{
    copy_strings(&c->users, c->user_count);
    copy_strings(&c->user_places, c->user_count);
    struct config_rename *renames = c->renames;
    c->renames = c->rename_count ? mem_alloc(c->rename_count * sizeof(*renames)) : NULL;
    for (uint32_t i = 0; i < c->rename_count; i++)
        c->renames[i] = (struct config_rename){
            .from = config_string_copy(slice_of(renames[i].from)),
            .to = config_string_copy(slice_of(renames[i].to)),
            .place = config_string_copy(slice_of(renames[i].place)),
        };
}

void config_lines_free(struct config *c)
{
    for (uint32_t i = 0; i < c->user_count; i++) {
        mem_free(c->users[i]);
        mem_free(c->user_places[i]);
    }
    for (uint32_t i = 0; i < c->rename_count; i++) {
        mem_free(c->renames[i].from);
        mem_free(c->renames[i].to);
        mem_free(c->renames[i].place);
    }
    mem_free(c->users);
    mem_free(c->user_places);
    mem_free(c->renames);
    c->users = c->user_places = NULL;
    c->renames = NULL;
    c->user_count = c->rename_count = 0;
}

void config_value_unshare(const struct config_option *o, struct config *c)
{
    if (o->type == OPTION_STRING || o->type == OPTION_SAVE) {
        char **at = field(o, c);
        *at = config_string_copy(slice_of(*at));
    } else if (o->type == OPTION_BYTES) {
        struct config_bytes *bytes = field(o, c);
        bytes->data = config_string_copy(config_bytes_slice(bytes));
    } else if (o->type == OPTION_BIND) {
        for (uint32_t i = 0; i < c->bind_count; i++)
            c->bind[i] = config_string_copy(slice_of(c->bind[i]));
    }
}

void config_value_free(const struct config_option *o, struct config *c)
{
    if (o->type == OPTION_STRING || o->type == OPTION_SAVE) {
        char **at = field(o, c);
        mem_free(*at);
        *at = NULL;
    } else if (o->type == OPTION_BYTES) {
        struct config_bytes *bytes = field(o, c);
        mem_free(bytes->data);
        *bytes = (struct config_bytes){0};
    } else if (o->type == OPTION_BIND) {
        free_bind(c);
    }
}
