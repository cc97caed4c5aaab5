/* The registry: rows copied into two blocks, and one hash table over all names.
 *
 * Nearly all names are at most 16 bytes, so a name is reduced to two words, its first and its
 * last eight bytes (overlapping in between, which loses nothing as the size is compared too),
 * put into lower case eight bytes at a time. Those two words are what is hashed and compared: no
 * loop over bytes. The few longer names are compared once more in full. Subcommands stand in the
 * same table, under the id of their container. */
#include "server/registry.h"

#include <assert.h>
#include <stdio.h>

#include "proto/mem.h"
#include "server/transaction.h"
#include "shard/undo.h"

#define NAME_SIZE_MAX 32  /* the longest name look-up accepts; rows are held to it */
#define WORDS_SIZE_MAX 16 /* up to here the two words say the whole name */
#define SLOTS_MIN 64
#define OWNER_NONE UINT32_C(0) /* a top-level name; otherwise the container's id + 1 */
#define OWNER_PROPER UINT32_MAX /* a top-level row's own name, where clients know it by another */

struct name_words {
    uint64_t head;
    uint64_t tail;
};

struct name_slot {
    struct name_words words;
    uint32_t size; /* bytes of the name */
    uint32_t owner;
    const struct command *row; /* NULL: free */
};

static_assert(sizeof(struct name_slot) == 32, "two slots a cache line");

struct registry {
    struct name_slot *slots;
    uint32_t slot_mask;
    uint32_t slot_shift; /* the hash's top bits are the index */
    uint32_t top_count;
    uint32_t count;
    struct command *top;
    struct command *subs; /* the subcommands of each container, each run with an empty row behind */
    const struct command **by_id;
    char *full_names; /* of the subcommands, one after the other */
    char **names; /* that top rows were given: NULL: their own; owned */
    const struct command **listed; /* top rows with a name */
    uint32_t listed_count;
    bool long_names;     /* some were given that are longer than WORDS_SIZE_MAX */
};

static inline uint64_t load_64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t load_32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* Lower case for the ASCII letters among eight bytes. With the top bit cleared, adding 128 - 'A'
 * sets a byte's top bit from 'A' on, adding 127 - 'Z' sets it past 'Z'; where exactly one is
 * set, and the byte's own top bit is not, it is a capital. Shifted right by two that bit is
 * 0x20. */
static inline uint64_t lower_8(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = w & (ones * 0x7f);
    uint64_t from_a = low + ones * (128 - 'A');
    uint64_t past_z = low + ones * (127 - 'Z');
    uint64_t capital = (from_a ^ past_z) & ~w & (ones * 0x80);
    return w | capital >> 2;
}

static inline struct name_words words_of(struct slice name)
{
    const char *p = name.data;
    size_t n = name.size;
    struct name_words w = {0, 0};
    if (n >= 8) {
        w.head = load_64(p);
        w.tail = load_64(p + n - 8);
    } else if (n >= 4) {
        w.head = load_32(p) | load_32(p + n - 4) << 32;
    } else {
        w.head = (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[n / 2] << 8 |
                 (uint64_t)(uint8_t)p[n - 1] << 16;
    }
    w.head = lower_8(w.head);
    w.tail = lower_8(w.tail);
    return w;
}

static inline uint32_t slot_of(const struct registry *r, struct name_words w, uint32_t owner)
{
    uint64_t h = w.head * UINT64_C(0x9E3779B97F4A7C15) + w.tail * UINT64_C(0xC2B2AE3D27D4EB4F) +
                 owner * UINT64_C(0x165667B19E3779F9);
    return (uint32_t)(h >> r->slot_shift);
}

/* Names that were given and do not fit two words: few or none. Asked where the table has no such
 * name. */
static __attribute__((noinline)) const struct command *find_long(const struct registry *r,
                                                                 uint32_t owner, struct slice name)
{
    if (!r->long_names || owner != OWNER_NONE || name.size <= WORDS_SIZE_MAX)
        return NULL;
    for (uint32_t i = 0; i < r->top_count; i++) {
        if (r->names[i] && slice_is(name, r->names[i]))
            return &r->top[i];
    }
    return NULL;
}

static inline const struct command *find_under(const struct registry *r, uint32_t owner,
                                               struct slice name)
{
    if (name.size == 0 || name.size > NAME_SIZE_MAX)
        return find_long(r, owner, name);
    struct name_words w = words_of(name);
    for (uint32_t i = slot_of(r, w, owner);; i = (i + 1) & r->slot_mask) {
        const struct name_slot *s = &r->slots[i];
        if (!s->row)
            return find_long(r, owner, name);
        if (s->words.head == w.head && s->words.tail == w.tail && s->size == name.size &&
            s->owner == owner && (name.size <= WORDS_SIZE_MAX || slice_is(name, s->row->name)))
            return s->row;
    }
}

const struct command *registry_find(const struct registry *r, struct slice name)
{
    return find_under(r, OWNER_NONE, name);
}

const struct command *registry_find_sub(const struct registry *r, const struct command *parent,
                                        struct slice name)
{
    return find_under(r, (uint32_t)parent->id + 1, name);
}

static const struct command *find_proper(const struct registry *r, struct slice name)
{
    const struct command *row = find_under(r, OWNER_PROPER, name);
    return row ? row : registry_find(r, name);
}

const struct command *registry_find_proper(const struct registry *r, struct slice full_name)
{
    const char *bar = full_name.size ? memchr(full_name.data, '|', full_name.size) : NULL;
    size_t size = bar ? (size_t)(bar - full_name.data) : full_name.size;
    const struct command *row = find_proper(r, (struct slice){full_name.data, size});
    /* Under a name that it was given it is not meant. */
    if (!row || !slice_is((struct slice){full_name.data, size}, row->name))
        return NULL;
    if (!bar)
        return row;
    return registry_find_sub(r, row, (struct slice){bar + 1, full_name.size - size - 1});
}

const struct command *registry_find_full(const struct registry *r, struct slice full_name)
{
    const char *bar = full_name.size ? memchr(full_name.data, '|', full_name.size) : NULL;
    if (!bar)
        return registry_find(r, full_name);
    size_t size = (size_t)(bar - full_name.data);
    const struct command *row = registry_find(r, (struct slice){full_name.data, size});
    if (!row)
        return NULL;
    return registry_find_sub(r, row, (struct slice){bar + 1, full_name.size - size - 1});
}

/* Not inline, so that the usual half is: every request comes by. */
static __attribute__((noinline)) const struct command *
resolve_sub(const struct registry *r, const struct command *row, struct slice name)
{
    const struct command *sub = registry_find_sub(r, row, name);
    return sub ? sub : row;
}

const struct command *registry_resolve(const struct registry *r, const struct slice *argv,
                                       uint32_t argc)
{
    const struct command *row = find_under(r, OWNER_NONE, argv[0]);
    if (__builtin_expect(row && row->subcommand_count && argc >= 2, 0))
        return resolve_sub(r, row, argv[1]);
    return row;
}

const struct command *registry_resolve_proper(const struct registry *r, const struct slice *argv,
                                              uint32_t argc)
{
    const struct command *row = find_proper(r, argv[0]);
    return row && row->subcommand_count && argc >= 2 ? resolve_sub(r, row, argv[1]) : row;
}

uint32_t registry_count(const struct registry *r)
{
    return r->count;
}

const struct command *registry_at(const struct registry *r, uint32_t id)
{
    assert(id < r->count);
    return r->by_id[id];
}

uint32_t registry_top_count(const struct registry *r)
{
    return r->listed_count;
}

const struct command *registry_top_at(const struct registry *r, uint32_t i)
{
    assert(i < r->listed_count);
    return r->listed[i];
}

bool registry_is_listed(const struct registry *r, const struct command *row)
{
    const char *given = r->names[(row->parent ? row->parent : row) - r->top];
    return !given || given[0];
}

/* The categories that flags stand for. A script runner is no reader, whatever its flags: so
 * Redis has it. Every command is either fast or slow. */
static void fill_categories(struct command *row)
{
    if (row->flags & CMD_WRITE)
        row->acl |= ACL_WRITE;
    if (row->flags & CMD_READONLY && !(row->acl & ACL_SCRIPTING))
        row->acl |= ACL_READ;
    if (row->flags & CMD_ADMIN)
        row->acl |= ACL_ADMIN | ACL_DANGEROUS;
    if (row->flags & CMD_PUBSUB)
        row->acl |= ACL_PUBSUB;
    if (row->flags & CMD_BLOCKING)
        row->acl |= ACL_BLOCKING;
    row->acl |= row->flags & CMD_FAST ? ACL_FAST : 0;
    row->acl |= row->acl & ACL_FAST ? 0 : ACL_SLOW;
}

static void fill_parsed_apart(struct command *row)
{
    bool strays = command_may_stray(row);
    const uint32_t flags = CMD_BLOCKING | CMD_LATER | CMD_NO_AUTH;
    if (strays || (row->flags & flags) || row->run == transaction_run_multi)
        row->flags |= CMD_PARSED_APART;
}

/* The triple of clients older than key specs: one range that covers every spec that is a plain
 * range and goes on where the one before ended. Specs that do not fit make the keys "movable". */
static void fill_key_triple(struct command *row)
{
    uint32_t specs = 0, unplain = 0;
    while (specs < KEY_SPECS_MAX && row->keys[specs].find != KEY_FIND_NONE)
        specs++;
    for (uint32_t i = 0; i < specs; i++) {
        const struct key_spec *spec = &row->keys[i];
        assert(spec->find == KEY_FIND_UNKNOWN ||
               (spec->begin != 0 && spec->step >= 1 && spec->limit >= 0));
        bool fits = !spec->keyword && spec->find == KEY_FIND_RANGE &&
                    (specs == 1 || spec->step == 1) &&
                    (row->last_key == 0 || row->last_key == spec->begin - 1);
        if (!fits || spec->flags & KEY_INCOMPLETE)
            row->flags |= CMD_MOVABLE_KEYS;
        if (spec->flags & KEY_NOT_KEY || spec->limit)
            unplain++;
        if (!fits)
            continue;
        row->first_key = row->first_key ? row->first_key : spec->begin;
        row->last_key = (int16_t)(spec->last < 0 ? spec->last : spec->begin + spec->last);
        row->key_step = spec->step;
    }
    if (row->first_key && !(row->flags & CMD_MOVABLE_KEYS) && !unplain)
        row->flags |= CMD_PLAIN_KEYS;
}

static uint32_t owner_of(const struct command *row)
{
    return row->parent ? (uint32_t)row->parent->id + 1 : OWNER_NONE;
}

static void insert_name(struct registry *r, uint32_t owner, struct slice name,
                        const struct command *row)
{
    assert(name.size > 0 && name.size <= NAME_SIZE_MAX);
    assert(!find_under(r, owner, name));
    struct name_words w = words_of(name);
    uint32_t i = slot_of(r, w, owner);
    while (r->slots[i].row)
        i = (i + 1) & r->slot_mask;
    r->slots[i] = (struct name_slot){w, (uint32_t)name.size, owner, row};
}

/* Fills the computed fields of a row that stands at its final place, with name and parent set. */
static void enter_row(struct registry *r, struct command *row)
{
    assert(row->arity != 0 && (row->run || row->subcommands));
    row->id = (uint16_t)r->count;
    r->by_id[r->count++] = row;
    fill_categories(row);
    fill_key_triple(row);
    fill_parsed_apart(row);
    row->undo = undo_command_of(row->full_name);
    insert_name(r, owner_of(row), slice_of(row->name), row);
}

static uint32_t rows_in(const struct command *table)
{
    uint32_t n = 0;
    while (table[n].name)
        n++;
    return n;
}

/* Copies the subcommands of `parent` to `to`, with the empty row behind them; returns their count.
 * *names is where full names go. */
static uint32_t enter_subcommands(struct registry *r, struct command *parent, struct command *to,
                                  char **names)
{
    uint32_t n = rows_in(parent->subcommands);
    memcpy(to, parent->subcommands, (n + 1) * sizeof(*to));
    parent->subcommands = to;
    parent->subcommand_count = (uint16_t)n;
    for (uint32_t i = 0; i < n; i++) {
        assert(!to[i].subcommands);
        to[i].parent = parent;
        to[i].full_name = *names;
        *names += sprintf(*names, "%s|%s", parent->name, to[i].name) + 1;
        enter_row(r, &to[i]);
    }
    return n;
}

/* Memory for all rows: counts first, so that rows never move once others point at them. */
static void allocate(struct registry *r, const struct command *const *tables, uint32_t count)
{
    size_t subs = 0, sub_rows = 0, name_bytes = 0;
    for (uint32_t t = 0; t < count; t++) {
        r->top_count += rows_in(tables[t]);
        for (const struct command *row = tables[t]; row->name; row++) {
            uint32_t n = row->subcommands ? rows_in(row->subcommands) : 0;
            subs += n;
            sub_rows += row->subcommands ? n + 1 : 0;
            for (uint32_t i = 0; i < n; i++)
                name_bytes += strlen(row->name) + strlen(row->subcommands[i].name) + 2;
        }
    }
    size_t all = r->top_count + subs;
    assert(all <= UINT16_MAX);
    r->top = mem_alloc_zeroed((r->top_count + 1) * sizeof(*r->top));
    r->subs = mem_alloc_zeroed((sub_rows + 1) * sizeof(*r->subs));
    r->by_id = mem_alloc_zeroed((all + 1) * sizeof(*r->by_id));
    r->names = mem_alloc_zeroed((r->top_count + 1) * sizeof(*r->names));
    r->listed = mem_alloc_zeroed((r->top_count + 1) * sizeof(*r->listed));
    r->full_names = mem_alloc_zeroed(name_bytes + 1);
    /* At most a quarter full: most probes find their name, or a free slot, at the first look. */
    uint32_t slots = SLOTS_MIN;
    while (slots < all * 4)
        slots *= 2;
    r->slots = mem_alloc_aligned(slots * sizeof(*r->slots), 64);
    memset(r->slots, 0, slots * sizeof(*r->slots));
    r->slot_mask = slots - 1;
    r->slot_shift = 64 - (uint32_t)__builtin_ctz(slots);
}

struct registry *registry_create_from(const struct command *const *tables, uint32_t count)
{
    struct registry *r = mem_alloc_zeroed(sizeof(*r));
    allocate(r, tables, count);
    for (uint32_t t = 0; t < count; t++) {
        for (const struct command *row = tables[t]; row->name; row++) {
            struct command *to = &r->top[r->count];
            *to = *row;
            to->full_name = to->name;
            r->listed[r->listed_count++] = to;
            enter_row(r, to);
        }
    }
    assert(r->count == r->top_count);
    struct command *subs = r->subs;
    char *names = r->full_names;
    for (uint32_t i = 0; i < r->top_count; i++)
        if (r->top[i].subcommands)
            subs += enter_subcommands(r, &r->top[i], subs, &names) + 1;
    return r;
}

/* The hash table anew, and which rows are listed: some have other names now. */
static void enter_names(struct registry *r)
{
    memset(r->slots, 0, ((size_t)r->slot_mask + 1) * sizeof(*r->slots));
    r->listed_count = 0;
    r->long_names = false;
    for (uint32_t i = 0; i < r->top_count; i++) {
        const struct command *row = &r->top[i];
        struct slice name = slice_of(r->names[i] ? r->names[i] : row->name);
        if (r->names[i])
            insert_name(r, OWNER_PROPER, slice_of(row->name), row);
        if (!name.size)
            continue;
        r->listed[r->listed_count++] = row;
        if (r->names[i] && name.size > WORDS_SIZE_MAX)
            r->long_names = true;
        else
            insert_name(r, OWNER_NONE, name, row);
    }
    for (uint32_t id = 0; id < r->count; id++) {
        const struct command *row = r->by_id[id];
        if (row->parent)
            insert_name(r, owner_of(row), slice_of(row->name), row);
    }
}

bool registry_rename(struct registry *r, struct slice from, struct slice to, const char **error)
{
    const struct command *found = registry_find(r, from);
    if (!found) {
        *error = "No such command in rename-command";
        return false;
    }
    const struct command *other = registry_find(r, to);
    if (other && other != found) {
        *error = "Target command name already exists";
        return false;
    }
    uint32_t i = (uint32_t)(found - r->top);
    mem_free(r->names[i]);
    r->names[i] = mem_alloc(to.size + 1);
    memcpy(r->names[i], to.data, to.size);
    r->names[i][to.size] = '\0';
    r->top[i].flags |= CMD_RENAMED;
    for (uint32_t k = 0; k < found->subcommand_count; k++)
        r->subs[found->subcommands + k - r->subs].flags |= CMD_RENAMED;
    enter_names(r);
    return true;
}

void registry_destroy(struct registry *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->top_count; i++)
        mem_free(r->names[i]);
    mem_free(r->names);
    mem_free(r->listed);
    mem_free(r->slots);
    mem_free(r->top);
    mem_free(r->subs);
    mem_free(r->by_id);
    mem_free(r->full_names);
    mem_free(r);
}
