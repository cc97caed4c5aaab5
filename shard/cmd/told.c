/* What command bodies tell the journal: see told.h. */
#include "shard/cmd/told.h"

#include <assert.h>

/* Words behind the key in one command: as many as do no harm to the latency of whoever loads it. */
#define LIST_CHUNK 1024

struct slice told_number(char *text, int64_t value)
{
    return (struct slice){text, number_format_integer(text, value)};
}

void told_gone(struct call *c, const struct place *p)
{
    told(c, p, SLICE("DEL"), p->key);
}

void told_past(struct call *c, const struct place *p)
{
    told(c, p, c->keyspace->options.lazy_expire ? SLICE("UNLINK") : SLICE("DEL"), p->key);
}

void told_expiry(struct call *c, const struct place *p, int64_t expires_ms)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    if (expires_ms == DB_NO_EXPIRY)
        told(c, p, SLICE("PERSIST"), p->key);
    else
        told(c, p, SLICE("PEXPIREAT"), p->key, told_number(text, expires_ms));
}

void told_string(struct call *c, const struct place *p, struct slice value, int64_t expires_ms)
{
    char text[NUMBER_INTEGER_SIZE_MAX];
    if (expires_ms == DB_NO_EXPIRY)
        told(c, p, SLICE("SET"), p->key, value);
    else if (expires_ms == DB_KEEP_EXPIRY)
        told(c, p, SLICE("SET"), p->key, value, SLICE("KEEPTTL"));
    else
        told(c, p, SLICE("SET"), p->key, value, SLICE("PXAT"), told_number(text, expires_ms));
}

static void add_fields(struct journal_writing *w, const struct call *c, uint32_t first,
                       uint32_t step)
{
    for (uint32_t i = first; i < c->argc; i += step)
        journal_word(w, c->argv[i]);
    journal_end(w);
}

static uint32_t field_count(const struct call *c, uint32_t first, uint32_t step)
{
    return (c->argc - first) / step;
}

void told_fields(struct call *c, const struct place *p, struct slice command, uint32_t first,
                 uint32_t step)
{
    if (!journal_is_on(c))
        return;
    call_journal_nothing(c);
    struct journal_writing w;
    bool counted = !slice_is(command, "HDEL");
    uint32_t count = field_count(c, first, step);
    char text[NUMBER_INTEGER_SIZE_MAX];
    journal_start(&w, p->shard, c->db, 2 + 2 * counted + count);
    journal_word(&w, command);
    journal_word(&w, p->key);
    if (counted) {
        journal_word(&w, SLICE("FIELDS"));
        journal_word(&w, told_number(text, count));
    }
    add_fields(&w, c, first, step);
}

void told_fields_expiry(struct call *c, const struct place *p, int64_t expires_ms, uint32_t first,
                        uint32_t step)
{
    if (!journal_is_on(c))
        return;
    call_journal_nothing(c);
    struct journal_writing w;
    uint32_t count = field_count(c, first, step);
    char text[NUMBER_INTEGER_SIZE_MAX];
    journal_start(&w, p->shard, c->db, 5 + count);
    journal_word(&w, SLICE("HPEXPIREAT"));
    journal_word(&w, p->key);
    journal_word(&w, told_number(text, expires_ms));
    journal_word(&w, SLICE("FIELDS"));
    journal_word(&w, told_number(text, count));
    add_fields(&w, c, first, step);
}

void told_list_start(struct told_list *l, struct call *c, const struct place *p,
                     struct slice command, uint64_t count)
{
    call_journal_nothing(c);
    *l = (struct told_list){
        .call = c, .shard = p->shard, .command = command, .key = p->key, .left = count};
}

void told_list_add(struct told_list *l, struct slice word)
{
    if (!journal_is_on(l->call))
        return;
    assert(l->left > 0);
    if (l->in_chunk == 0) {
        l->in_chunk = l->left < LIST_CHUNK ? l->left : LIST_CHUNK;
        journal_start(&l->writing, l->shard, l->call->db, 2 + (uint32_t)l->in_chunk);
        journal_word(&l->writing, l->command);
        journal_word(&l->writing, l->key);
    }
    journal_word(&l->writing, word);
    l->left--;
    if (--l->in_chunk == 0)
        journal_end(&l->writing);
}
