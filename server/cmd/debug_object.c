/* DEBUG OBJECT and its kin: what a key looks like inside. */
#include <inttypes.h>
#include <stdio.h>

#include "proto/number.h"
#include "server/cmd/debug.h"
#include "server/server.h"
#include "shard/db.h"
#include "shard/type/listpack.h"
#include "shard/type/quicklist.h"

/* Lines that DEBUG LISTPACK writes at most, and bytes that it shows of an element. */
#define ELEMENTS_SHOWN 1024
#define ELEMENT_SIZE_SHOWN 40

static bool find_key(struct call *c, struct place *p)
{
    *p = db_find_key(c, c->argv[2], c->db, DB_PEEK_AS_IS);
    if (!p->entry)
        reply_error(&c->reply, "ERR no such key");
    return p->entry;
}

/* Bytes of a string in an RDB file, not compressed: small integers in 2, 3 or 5, else a length of
 * 1, 2, 5 or 9 and the bytes. */
static size_t serialized_size(struct slice value)
{
    int64_t n;
    if (value.size <= 11 && number_parse_integer(value, &n)) {
        if (n >= INT8_MIN && n <= INT8_MAX)
            return 2;
        if (n >= INT16_MIN && n <= INT16_MAX)
            return 3;
        if (n >= INT32_MIN && n <= INT32_MAX)
            return 5;
    }
    size_t length_size = value.size < 1u << 6 ? 1 : value.size < 1u << 14 ? 2 : 5;
    if (value.size > UINT32_MAX)
        length_size = 9;
    return length_size + value.size;
}

/* Of a collection the bytes held, which is about as much. */
static size_t saved_size(const struct place *p)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (db_is_string(p))
        return serialized_size(db_string(p, scratch));
    struct value v = db_value(p, entry_type(p->entry));
    return value_memory(&v);
}

/* What Redis tells of a quicklist, in Redis's words. */
static void describe_quicklist(const struct call *c, const struct place *p, struct buf *text)
{
    if (p->entry->type != TYPE_LIST || p->entry->encoding != ENC_QUICKLIST)
        return;
    const struct quicklist *q = entry_pointer(p->entry);
    size_t size = 0;
    for (const struct quicklist_node *n = q->first; n; n = n->next)
        size += n->size;
    buf_printf(text,
               " ql_nodes:%" PRIu64 " ql_avg_node:%.2f ql_listpack_max:%d ql_compressed:%d "
               "ql_uncompressed_size:%zu",
               q->node_count, (double)q->count / (double)q->node_count,
               (int)c->keyspace->options.list_max_listpack_size, q->depth != 0, size);
}

void debug_object(struct call *c)
{
    struct place p;
    if (!find_key(c, &p))
        return;

    struct buf text;
    buf_init(&text);
    buf_printf(&text,
               "Value at:%p refcount:1 encoding:%s serializedlength:%zu lru:%u "
               "lru_seconds_idle:%" PRIu64,
               (void *)p.entry, db_encoding_name(&p), saved_size(&p), (unsigned)p.entry->clock,
               db_idle_ms(&p) / 1000);
    describe_quicklist(c, &p, &text);
    buf_append(&text, "", 1);
    reply_simple(&c->reply, text.data);
    buf_deinit(&text);
}

void debug_listpack(struct call *c)
{
    struct place p;
    if (!find_key(c, &p))
        return;
    if (p.entry->encoding != ENC_LISTPACK) {
        reply_error(&c->reply, "ERR Not a listpack encoded object.");
        return;
    }

    const unsigned char *lp = entry_pointer(p.entry);
    log_write(&server->log, LOG_WARNING, "DEBUG LISTPACK: %zu bytes, %" PRIu32 " elements",
              listpack_size(lp), listpack_count(lp));
    int shown = 0;
    for (uint32_t at = listpack_first(lp); at != LISTPACK_NONE && shown < ELEMENTS_SHOWN;
         at = listpack_next(lp, at), shown++) {
        char scratch[NUMBER_INTEGER_SIZE_MAX];
        int64_t integer;
        struct slice text = listpack_text(lp, at, scratch);
        log_write(&server->log, LOG_WARNING, "DEBUG LISTPACK: at %" PRIu32 ", %s of %zu: %.*s", at,
                  listpack_integer(lp, at, &integer) ? "integer" : "string", text.size,
                  (int)(text.size < ELEMENT_SIZE_SHOWN ? text.size : ELEMENT_SIZE_SHOWN),
                  text.data);
    }
    reply_simple(&c->reply, "Listpack structure written to the log");
}

void debug_htstats_key(struct call *c)
{
    struct place p;
    if (!find_key(c, &p))
        return;
    if (p.entry->encoding != ENC_TABLE && p.entry->encoding != ENC_TREE) {
        reply_error(&c->reply, "ERR The value stored at the specified key is not represented using "
                               "an hash table");
        return;
    }

    struct value v = db_value(&p, entry_type(p.entry));
    char text[128];
    int size = snprintf(text, sizeof(text),
                        "elements %" PRIu64 ", allocations about %" PRIu64 ", bytes %zu\n",
                        value_count(&v), value_ops_of(v.type)->parts(&v), value_memory(&v));
    reply_verbatim(&c->reply, "txt", (struct slice){text, (size_t)size});
}
