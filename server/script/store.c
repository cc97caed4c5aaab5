/* The scripts that all cores share: see store.h. */
#include "server/script/store.h"

#include <pthread.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/config_option.h"

#define SLOTS_MIN 64

struct scripts {
    pthread_mutex_t lock;
    struct script **slots; /* by the first bytes of the SHA1, which spreads by itself */
    uint64_t slot_count;
    uint64_t count;
    uint64_t bytes;
    /* Changed while every core stands still, which orders it for them. */
    uint64_t epoch;
};

static uint64_t first_bytes(const unsigned char *sha)
{
    uint64_t v;
    memcpy(&v, sha, sizeof(v));
    return v;
}

struct scripts *scripts_create(void)
{
    struct scripts *s = mem_alloc_zeroed(sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->slot_count = SLOTS_MIN;
    s->slots = mem_alloc_zeroed(s->slot_count * sizeof(*s->slots));
    s->epoch = 1;
    return s;
}

static void free_all(struct scripts *s)
{
    for (uint64_t i = 0; i < s->slot_count; i++) {
        while (s->slots[i]) {
            struct script *next = s->slots[i]->next;
            mem_free(s->slots[i]);
            s->slots[i] = next;
        }
    }
    s->count = s->bytes = 0;
}

void scripts_destroy(struct scripts *s)
{
    free_all(s);
    mem_free(s->slots);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

void scripts_flush(struct scripts *s)
{
    pthread_mutex_lock(&s->lock);
    free_all(s);
    s->epoch++;
    pthread_mutex_unlock(&s->lock);
}

uint64_t scripts_epoch(const struct scripts *s)
{
    return s->epoch;
}

uint64_t scripts_count(struct scripts *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t count = s->count;
    pthread_mutex_unlock(&s->lock);
    return count;
}

uint64_t scripts_memory(struct scripts *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t bytes = s->bytes + s->slot_count * sizeof(*s->slots);
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

static struct script *find(const struct scripts *s, const unsigned char *sha)
{
    struct script *found = s->slots[first_bytes(sha) & (s->slot_count - 1)];
    while (found && memcmp(found->sha, sha, SCRIPT_SHA_SIZE) != 0)
        found = found->next;
    return found;
}

struct script *scripts_find(struct scripts *s, const unsigned char sha[SCRIPT_SHA_SIZE])
{
    pthread_mutex_lock(&s->lock);
    struct script *found = find(s, sha);
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void link_in(struct scripts *s, struct script *script)
{
    struct script **slot = &s->slots[first_bytes(script->sha) & (s->slot_count - 1)];
    script->next = *slot;
    *slot = script;
}

static void grow(struct scripts *s)
{
    struct script **old = s->slots;
    uint64_t old_count = s->slot_count;
    s->slot_count *= 2;
    s->slots = mem_alloc_zeroed(s->slot_count * sizeof(*s->slots));
    for (uint64_t i = 0; i < old_count; i++) {
        while (old[i]) {
            struct script *script = old[i];
            old[i] = script->next;
            link_in(s, script);
        }
    }
    mem_free(old);
}

struct script *scripts_insert(struct scripts *s, const unsigned char sha[SCRIPT_SHA_SIZE],
                              struct slice source, uint32_t flags, size_t shebang_size)
{
    pthread_mutex_lock(&s->lock);
    struct script *script = find(s, sha);
    if (!script) {
        script = mem_alloc(sizeof(*script) + source.size);
        *script = (struct script){.flags = flags, .shebang_size = shebang_size,
                                  .size = source.size};
        memcpy(script->sha, sha, SCRIPT_SHA_SIZE);
        script_write_name(sha, script->name);
        if (source.size)
            memcpy(script->source, source.data, source.size);
        if (s->count >= s->slot_count)
            grow(s);
        link_in(s, script);
        s->count++;
        s->bytes += mem_usable(script);
    }
    pthread_mutex_unlock(&s->lock);
    return script;
}

/* Names. */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool script_read_name(struct slice name, unsigned char sha[SCRIPT_SHA_SIZE])
{
    if (name.size != SCRIPT_NAME_SIZE)
        return false;
    for (size_t i = 0; i < SCRIPT_SHA_SIZE; i++) {
        int high = hex_digit(name.data[2 * i]), low = hex_digit(name.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        sha[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void script_write_name(const unsigned char sha[SCRIPT_SHA_SIZE], char to[SCRIPT_NAME_SIZE + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SCRIPT_SHA_SIZE; i++) {
        to[2 * i] = digits[sha[i] >> 4];
        to[2 * i + 1] = digits[sha[i] & 15];
    }
    to[SCRIPT_NAME_SIZE] = '\0';
}

/* The shebang line. */

uint32_t script_flag(struct slice word)
{
    static const struct {
        const char *name;
        uint32_t flag;
    } flags[] = {
        {"no-writes", SCRIPT_NO_WRITES},
        {"allow-oom", SCRIPT_ALLOW_OOM},
        {"allow-stale", SCRIPT_ALLOW_STALE},
        {"no-cluster", SCRIPT_NO_CLUSTER},
        {"allow-cross-slot-keys", SCRIPT_ALLOW_CROSS_SLOT},
    };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (slice_equal(word, slice_of(flags[i].name)))
            return flags[i].flag;
    return 0;
}

/* "a,b": true with all their flags. */
static bool read_flags(struct slice list, uint32_t *flags, struct slice *unknown)
{
    for (size_t at = 0; list.size && at <= list.size;) {
        struct slice word = {list.data + at, 0};
        while (at + word.size < list.size && word.data[word.size] != ',')
            word.size++;
        uint32_t flag = script_flag(word);
        *unknown = word;
        if (!flag)
            return false;
        *flags |= flag;
        at += word.size + 1;
    }
    return true;
}

static bool read_words(const struct config_words *words, uint32_t *flags, char *error,
                       size_t error_size)
{
    static const struct slice option = {"flags=", 6};
    struct slice word = words->items[0];
    if (!slice_equal(word, SLICE("#!lua"))) {
        snprintf(error, error_size, "Unexpected engine in script shebang: %.*s", (int)word.size,
                 word.data);
        return false;
    }
    for (uint32_t i = 1; i < words->count; i++) {
        word = words->items[i];
        if (word.size < option.size || memcmp(word.data, option.data, option.size) != 0) {
            snprintf(error, error_size, "Unknown lua shebang option: %.*s", (int)word.size,
                     word.data);
            return false;
        }
        struct slice unknown;
        word = (struct slice){word.data + option.size, word.size - option.size};
        if (!read_flags(word, flags, &unknown)) {
            snprintf(error, error_size, "Unexpected flag in script shebang: %.*s",
                     (int)unknown.size, unknown.data);
            return false;
        }
    }
    return true;
}

bool script_read_shebang(struct slice source, uint32_t *flags, size_t *size, char *error,
                         size_t error_size)
{
    *flags = SCRIPT_COMPAT;
    *size = 0;
    if (source.size < 2 || memcmp(source.data, "#!", 2) != 0)
        return true;
    const char *end = memchr(source.data, '\n', source.size);
    if (!end || memchr(source.data, '\0', (size_t)(end - source.data))) {
        snprintf(error, error_size, "Invalid script shebang");
        return false;
    }
    struct slice line = {source.data, (size_t)(end - source.data)};
    struct config_words words;
    if (!config_words_split(&words, line)) {
        snprintf(error, error_size, "Invalid engine in script shebang");
        return false;
    }
    *size = line.size;
    *flags = 0;
    bool well = read_words(&words, flags, error, error_size);
    config_words_deinit(&words);
    return well;
}
