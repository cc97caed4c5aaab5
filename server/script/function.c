/* Function libraries: see function.h. */
#include "server/script/function.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/mem.h"
#include "server/config_option.h"
#include "server/script/function_core.h"

static const char bad_name[] = "Library names can only contain letters, numbers, or "
                               "underscores(_) and must be at least one character long";

/* --- Libraries --- */

/* With a terminator, for messages. */
static struct slice copy(struct slice s)
{
    char *bytes = mem_alloc(s.size + 1);
    if (s.size)
        memcpy(bytes, s.data, s.size);
    bytes[s.size] = '\0';
    return (struct slice){bytes, s.size};
}

static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        char c = s.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_')
            return false;
    }
    return s.size > 0;
}

/* Takes the name from the words of the first line. */
static bool read_words(const struct config_words *words, struct slice *name, struct buf *error)
{
    static const char option[] = "name=";
    size_t option_size = sizeof(option) - 1;
    bool named = false;
    for (uint32_t i = 1; i < words->count; i++) {
        struct slice word = words->items[i];
        bool is_option = word.size >= option_size &&
                         strncasecmp(word.data, option, option_size) == 0;
        if (!is_option) {
            buf_printf(error, "Invalid metadata value given: %.*s", (int)word.size, word.data);
            return false;
        }
        if (named) {
            buf_append_text(error,
                            "Invalid metadata value, name argument was given multiple times");
            return false;
        }
        named = true;
        *name = (struct slice){word.data + option_size, word.size - option_size};
    }
    if (!named)
        buf_append_text(error, "Library name was not given");
    return named;
}

static bool check_words(const struct config_words *words, struct slice *name, struct buf *error)
{
    if (!read_words(words, name, error))
        return false;
    if (!is_name(*name)) {
        buf_append_text(error, bad_name);
        return false;
    }
    struct slice engine = {words->items[0].data + 2, words->items[0].size - 2};
    if (slice_is(engine, "lua"))
        return true;
    buf_printf(error, "Engine '%.*s' not found", (int)engine.size, engine.data);
    return false;
}

struct library *library_create(struct slice code, uint32_t core_count, struct buf *error)
{
    if (code.size < 2 || memcmp(code.data, "#!", 2) != 0) {
        buf_append_text(error, "Missing library metadata");
        return NULL;
    }
    const char *end = memchr(code.data, '\n', code.size);
    struct slice line = {code.data, end ? (size_t)(end - code.data) : 0};
    struct config_words words;
    bool has_zero = end && memchr(line.data, '\0', line.size);
    if (!end || has_zero || !config_words_split(&words, line)) {
        buf_append_text(error, "Invalid library metadata");
        return NULL;
    }
    struct library *l = NULL;
    struct slice name;
    if (check_words(&words, &name, error)) {
        l = mem_alloc(sizeof(*l));
        *l = (struct library){.name = copy(name), .code = copy(code), .line_size = line.size,
                              .core_count = core_count,
                              .refs = mem_alloc_zeroed(core_count * sizeof(*l->refs))};
    }
    config_words_deinit(&words);
    return l;
}

void library_destroy(struct library *l)
{
    for (uint32_t i = 0; i < l->core_count; i++)
        if (l->refs[i])
            function_core_release(i, l->refs[i], l->function_count);
    for (uint32_t i = 0; i < l->function_count; i++) {
        mem_free((char *)l->functions[i]->name.data);
        mem_free((char *)l->functions[i]->description.data);
        mem_free(l->functions[i]);
    }
    mem_free(l->functions);
    mem_free(l->refs);
    mem_free((char *)l->name.data);
    mem_free((char *)l->code.data);
    mem_free(l);
}

struct function *library_find(const struct library *l, struct slice name)
{
    for (uint32_t i = 0; i < l->function_count; i++)
        if (slice_equal(l->functions[i]->name, name))
            return l->functions[i];
    return NULL;
}

bool library_add(struct library *l, const struct function *function, struct buf *error)
{
    if (!is_name(function->name)) {
        buf_append_text(error, bad_name);
        return false;
    }
    if (library_find(l, function->name)) {
        buf_append_text(error, "Function already exists in the library");
        return false;
    }
    struct function *f = mem_alloc(sizeof(*f));
    *f = (struct function){.name = copy(function->name), .flags = function->flags,
                           .description = copy(function->description),
                           .described = function->described, .index = l->function_count,
                           .library = l};
    l->functions = mem_realloc(l->functions, (l->function_count + 1) * sizeof(*l->functions));
    l->functions[l->function_count++] = f;
    return true;
}

/* --- Sets of libraries --- */

static int compare_names(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_letters(struct slice a, struct slice b)
{
    int order = strncasecmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Where a library of this name is or would be. */
static uint32_t library_place(const struct functions *f, struct slice name, bool *found)
{
    uint32_t low = 0, high = f->library_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_names(f->libraries[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < f->library_count && slice_equal(f->libraries[low]->name, name);
    return low;
}

static uint32_t function_place(const struct functions *f, struct slice name, bool *found)
{
    uint32_t low = 0, high = f->function_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_letters(f->functions[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < f->function_count && compare_letters(f->functions[low]->name, name) == 0;
    return low;
}

struct functions *functions_create(void)
{
    return mem_alloc_zeroed(sizeof(struct functions));
}

void functions_destroy(struct functions *f)
{
    for (uint32_t i = 0; i < f->library_count; i++)
        library_destroy(f->libraries[i]);
    mem_free(f->libraries);
    mem_free(f->functions);
    mem_free(f);
}

struct library *functions_find_library(const struct functions *f, struct slice name)
{
    bool found;
    uint32_t at = library_place(f, name, &found);
    return found ? f->libraries[at] : NULL;
}

struct function *functions_find(const struct functions *f, struct slice name)
{
    bool found;
    uint32_t at = function_place(f, name, &found);
    return found ? f->functions[at] : NULL;
}

static void link_function(struct functions *f, struct function *function)
{
    bool found;
    uint32_t at = function_place(f, function->name, &found);
    if (found)
        return;
    f->functions = mem_realloc(f->functions, (f->function_count + 1) * sizeof(*f->functions));
    memmove(f->functions + at + 1, f->functions + at,
            (f->function_count - at) * sizeof(*f->functions));
    f->functions[at] = function;
    f->function_count++;
}

void functions_link(struct functions *f, struct library *l)
{
    bool found;
    uint32_t at = library_place(f, l->name, &found);
    assert(!found);
    f->libraries = mem_realloc(f->libraries, (f->library_count + 1) * sizeof(*f->libraries));
    memmove(f->libraries + at + 1, f->libraries + at,
            (f->library_count - at) * sizeof(*f->libraries));
    f->libraries[at] = l;
    f->library_count++;
    for (uint32_t i = 0; i < l->function_count; i++)
        link_function(f, l->functions[i]);
    f->registered_count += l->function_count;
}

void functions_unlink(struct functions *f, struct library *l)
{
    bool found;
    uint32_t at = library_place(f, l->name, &found);
    assert(found && f->libraries[at] == l);
    f->library_count--;
    memmove(f->libraries + at, f->libraries + at + 1,
            (f->library_count - at) * sizeof(*f->libraries));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->function_count; i++)
        if (f->functions[i]->library != l)
            f->functions[kept++] = f->functions[i];
    f->function_count = kept;
    f->registered_count -= l->function_count;
}

/* True where a function of another library that stays has the name. */
static bool collides(const struct functions *to, const struct functions *from,
                     const struct function *function)
{
    const struct function *other = functions_find(to, function->name);
    return other && !functions_find_library(from, other->library->name);
}

bool functions_join(struct functions *to, struct functions *from, bool replace, struct buf *error)
{
    for (uint32_t i = 0; i < from->library_count && !replace; i++) {
        struct slice name = from->libraries[i]->name;
        if (functions_find_library(to, name)) {
            buf_printf(error, "Library %.*s already exists", (int)name.size, name.data);
            return false;
        }
    }
    for (uint32_t i = 0; i < from->function_count; i++) {
        struct slice name = from->functions[i]->name;
        if (collides(to, from, from->functions[i])) {
            buf_printf(error, "Function %.*s already exists", (int)name.size, name.data);
            return false;
        }
    }
    for (uint32_t i = 0; i < from->library_count; i++) {
        struct library *old = functions_find_library(to, from->libraries[i]->name);
        if (old) {
            functions_unlink(to, old);
            library_destroy(old);
        }
    }
    for (uint32_t i = 0; i < from->library_count; i++)
        functions_link(to, from->libraries[i]);
    from->library_count = from->function_count = 0;
    return true;
}

static uint64_t library_memory(const struct library *l)
{
    uint64_t bytes = mem_usable(l) + mem_usable(l->name.data) + mem_usable(l->code.data) +
                     mem_usable(l->functions) + mem_usable(l->refs);
    for (uint32_t i = 0; i < l->function_count; i++) {
        const struct function *f = l->functions[i];
        bytes += mem_usable(f) + mem_usable(f->name.data) + mem_usable(f->description.data);
    }
    return bytes;
}

uint64_t functions_memory(const struct functions *f)
{
    uint64_t bytes = mem_usable(f) + mem_usable(f->libraries) + mem_usable(f->functions);
    for (uint32_t i = 0; i < f->library_count; i++)
        bytes += library_memory(f->libraries[i]);
    return bytes;
}
