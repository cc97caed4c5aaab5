/* What the commands on streams share: see stream_cmd.h. */
#include "shard/cmd/stream_cmd.h"

#include "shard/cmd/told.h"
#include "shard/type/stream_group.h"

/* Bytes left for the header of an array whose count is not known yet: it fits up to 9 elements,
 * with more of them the elements move on. */
#define ARRAY_HEAD_SIZE 4

/* --- Arguments --- */

static bool refuse_id(struct call *c)
{
    reply_error(&c->reply, "ERR Invalid stream ID specified as stream command argument");
    return false;
}

bool stream_arg_id(struct call *c, uint32_t arg, uint64_t missing_seq, struct stream_id *id)
{
    return stream_id_parse(c->argv[arg], missing_seq, id) || refuse_id(c);
}

bool stream_arg_bound(struct call *c, uint32_t arg, bool end, struct stream_id *id)
{
    struct slice text = c->argv[arg];
    uint64_t missing_seq = end ? UINT64_MAX : 0;
    if (text.size < 2 || text.data[0] != '(')
        return stream_id_parse_bound(text, missing_seq, id) || refuse_id(c);
    if (!stream_id_parse((struct slice){text.data + 1, text.size - 1}, missing_seq, id))
        return refuse_id(c);
    if (end ? stream_id_decrement(id) : stream_id_increment(id))
        return true;
    reply_error(&c->reply, "ERR invalid %s ID for the interval", end ? "end" : "start");
    return false;
}

/* The ids that follow IDS at argument `at`. */
static bool read_ids(struct call *c, uint32_t at, struct stream_delete_args *a)
{
    int64_t count;
    if (at + 1 >= c->argc) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (!number_parse_integer(c->argv[at + 1], &count) || count < 1) {
        reply_error(&c->reply, "ERR Number of IDs must be a positive integer");
        return false;
    }
    if (count > c->argc - at - 2) {
        reply_error(&c->reply, "ERR The `numids` parameter must match the number of arguments");
        return false;
    }
    a->first_id = at + 2;
    a->id_count = (uint32_t)count;
    return true;
}

static bool read_references(const struct call *c, uint32_t arg, enum stream_references *r)
{
    if (call_arg_is(c, arg, "keepref"))
        *r = STREAM_REFERENCES_KEEP;
    else if (call_arg_is(c, arg, "delref"))
        *r = STREAM_REFERENCES_DELETE;
    else if (call_arg_is(c, arg, "acked"))
        *r = STREAM_REFERENCES_ACKED;
    else
        return false;
    return true;
}

bool stream_args_delete(struct call *c, uint32_t from, struct stream_delete_args *a)
{
    *a = (struct stream_delete_args){0};
    bool told = false;
    for (uint32_t i = from; i < c->argc; i++) {
        if (!told && read_references(c, i, &a->references)) {
            told = true;
        } else if (!a->id_count && call_arg_is(c, i, "ids")) {
            if (!read_ids(c, i, a))
                return false;
            i += 1 + a->id_count;
        } else {
            reply_error_syntax(&c->reply);
            return false;
        }
    }
    if (!a->id_count)
        reply_error_syntax(&c->reply);
    return a->id_count != 0;
}

void stream_tell_acked(struct call *c, const struct place *p, struct slice group,
                       struct stream_id id)
{
    char text[STREAM_ID_SIZE_MAX];
    told(c, p, SLICE("XACK"), p->key, group, (struct slice){text, stream_id_format(text, id)});
}

static void tell_forgotten(struct call *c, const struct place *p, const struct stream *s,
                           struct stream_id id)
{
    if (!journal_is_on(c))
        return;
    for (struct stream_group *g = NULL; (g = stream_group_next(s, g));)
        if (stream_pel_find(&g->pel, id))
            stream_tell_acked(c, p, stream_group_name(g), id);
}

int stream_delete_as(struct call *c, const struct place *p, struct stream *s, struct stream_id id,
                     enum stream_references references)
{
    if (references == STREAM_REFERENCES_DELETE) {
        tell_forgotten(c, p, s, id);
        stream_forget_id(s, id);
    } else if (references == STREAM_REFERENCES_ACKED && !stream_acked_by_all(s, id)) {
        return stream_find(s, id) ? 2 : -1;
    }
    if (!stream_delete(s, id))
        return -1;
    char text[STREAM_ID_SIZE_MAX];
    told(c, p, SLICE("XDEL"), p->key, (struct slice){text, stream_id_format(text, id)});
    return 1;
}

/* --- Replies --- */

void stream_reply_id(struct reply *r, struct stream_id id)
{
    char text[STREAM_ID_SIZE_MAX];
    reply_bulk(r, (struct slice){text, stream_id_format(text, id)});
}

void stream_reply_message(struct reply *r, struct stream_walk *w, struct stream_id id,
                          uint32_t pairs)
{
    reply_array(r, 2);
    stream_reply_id(r, id);
    reply_array(r, 2 * (size_t)pairs);
    for (uint32_t i = 0; i < pairs; i++) {
        struct slice field, value;
        stream_walk_field(w, &field, &value);
        reply_bulk(r, field);
        reply_bulk(r, value);
    }
}

size_t stream_array_begin(struct reply *r)
{
    size_t start = r->out->size;
    buf_reserve(r->out, ARRAY_HEAD_SIZE);
    r->out->size += ARRAY_HEAD_SIZE;
    return start;
}

void stream_array_end(struct reply *r, size_t start, uint64_t count)
{
    char head[NUMBER_INTEGER_SIZE_MAX + 3] = "*";
    size_t size = 1 + number_format_unsigned(head + 1, count);
    head[size++] = '\r';
    head[size++] = '\n';
    size_t elements = start + ARRAY_HEAD_SIZE, elements_size = r->out->size - elements;
    buf_reserve(r->out, size - ARRAY_HEAD_SIZE);
    if (size != ARRAY_HEAD_SIZE)
        memmove(r->out->data + start + size, r->out->data + elements, elements_size);
    memcpy(r->out->data + start, head, size);
    r->out->size += size - ARRAY_HEAD_SIZE;
}

uint64_t stream_reply_range(struct reply *r, struct stream_walk *w, uint64_t count)
{
    struct stream_id id;
    uint32_t pairs;
    uint64_t given = 0;
    size_t start = stream_array_begin(r);
    while ((count == 0 || given < count) && stream_walk_next(w, &id, &pairs)) {
        stream_reply_message(r, w, id, pairs);
        given++;
    }
    stream_array_end(r, start, given);
    return given;
}
