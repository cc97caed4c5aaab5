/* INCREX (Redis 8.8): a counter with bounds and an expiry, for rate limiters and quotas.
 *
 * A result out of bounds is refused: key and expiry stay, and the reply is the value as it is with
 * an increment of 0. With SATURATE the value becomes the bound instead. Bounds that are not given
 * are those of the type. By integers it counts as INCRBY does, by floats as INCRBYFLOAT. */
#include <float.h>
#include <math.h>

#include "proto/number.h"
#include "shard/cmd/string_cmd.h"
#include "shard/cmd/told.h"

enum word { WORD_BY, WORD_LBOUND, WORD_UBOUND, WORD_SATURATE, WORD_EXPIRY, WORD_ENX, WORD_COUNT };

static const struct {
    const char *text;
    enum word word;
    bool has_value;
    enum string_option expiry;
} words[] = {
    {"BYINT", WORD_BY, true, OPTION_NONE},
    {"BYFLOAT", WORD_BY, true, OPTION_NONE},
    {"LBOUND", WORD_LBOUND, true, OPTION_NONE},
    {"UBOUND", WORD_UBOUND, true, OPTION_NONE},
    {"SATURATE", WORD_SATURATE, false, OPTION_NONE},
    {"EX", WORD_EXPIRY, true, OPTION_EX},
    {"PX", WORD_EXPIRY, true, OPTION_PX},
    {"EXAT", WORD_EXPIRY, true, OPTION_EXAT},
    {"PXAT", WORD_EXPIRY, true, OPTION_PXAT},
    {"PERSIST", WORD_EXPIRY, false, OPTION_PERSIST},
    {"ENX", WORD_ENX, false, OPTION_NONE},
};

struct increx {
    uint32_t args[WORD_COUNT]; /* where each word stands; 0: nowhere */
    bool by_float;
    enum string_option expiry;
    int64_t expires_ms;        /* as db_put_string takes it */
};

/* Each word may come once. */
static bool read_words(struct call *c, struct increx *x)
{
    for (uint32_t i = 2; i < c->argc; i++) {
        size_t k = 0;
        while (k < sizeof(words) / sizeof(words[0]) && !call_arg_is(c, i, words[k].text))
            k++;
        if (k == sizeof(words) / sizeof(words[0]) || x->args[words[k].word] ||
            (words[k].has_value && i + 1 == c->argc)) {
            reply_error_syntax(&c->reply);
            return false;
        }
        x->args[words[k].word] = i;
        x->by_float |= slice_is(c->argv[i], "BYFLOAT");
        if (words[k].word == WORD_EXPIRY)
            x->expiry = words[k].expiry;
        i += words[k].has_value;
    }
    return true;
}

static bool read_expiry(struct call *c, struct increx *x)
{
    if (x->args[WORD_ENX] && x->expiry == OPTION_PERSIST) {
        reply_error_syntax(&c->reply);
        return false;
    }
    if (x->args[WORD_ENX] && x->expiry == OPTION_NONE) {
        reply_error(&c->reply, "ERR ENX flag requires an expiration");
        return false;
    }
    x->expires_ms = DB_KEEP_EXPIRY;
    return x->expiry == OPTION_NONE ||
           string_expiry_read(c, x->expiry, x->args[WORD_EXPIRY] + 1, &x->expires_ms);
}

static bool refuse_bounds(struct call *c)
{
    reply_error(&c->reply, "ERR LBOUND can't be greater than UBOUND");
    return false;
}

static const char *const names[] = {
    [WORD_BY] = "Increment", [WORD_LBOUND] = "LBOUND", [WORD_UBOUND] = "UBOUND"};

/* False where the place has another type. */
static bool check_type(struct call *c, const struct place *p)
{
    if (!p->entry || db_is_string(p))
        return true;
    reply_error_wrong_type(&c->reply);
    return false;
}

/* The key gets a value: how its expiry is to be. */
static int64_t expiry_of(const struct increx *x, const struct place *p)
{
    bool keeps = x->args[WORD_ENX] && p->entry && db_expiry(p) != DB_NO_EXPIRY;
    return keeps ? DB_KEEP_EXPIRY : x->expires_ms;
}

/* After the value was put. */
static void tell(struct call *c, struct place *p, struct slice value, int64_t expires_ms,
                 bool persisted, const char *event)
{
    db_changed(c, p);
    told_string(c, p, value, expires_ms);
    db_notify(p, NOTIFY_STRING, event);
    if (expires_ms >= 0)
        db_notify(p, NOTIFY_GENERIC, "expire");
    else if (persisted)
        db_notify(p, NOTIFY_GENERIC, "persist");
}

/* ---- By integers ---- */

static bool read_integer(struct call *c, const struct increx *x, enum word w, int64_t *value)
{
    if (!x->args[w] || number_parse_integer(c->argv[x->args[w] + 1], value))
        return true;
    reply_error(&c->reply, "ERR %s is not an integer or out of range", names[w]);
    return false;
}

static bool read_old_integer(struct call *c, const struct place *p, int64_t *old)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (!check_type(c, p))
        return false;
    if (!p->entry || db_string_integer(p, old) ||
        number_parse_integer(db_string(p, scratch), old))
        return true;
    reply_error_integer(&c->reply);
    return false;
}

static void run_integer(struct call *c, const struct increx *x)
{
    int64_t by = 1, least = INT64_MIN, most = INT64_MAX, old = 0, value, added;
    if (!read_integer(c, x, WORD_BY, &by) || !read_integer(c, x, WORD_LBOUND, &least) ||
        !read_integer(c, x, WORD_UBOUND, &most) || (least > most && !refuse_bounds(c)))
        return;
    struct place p = db_find(c, 1, DB_WRITE);
    if (!read_old_integer(c, &p, &old))
        return;

    bool over = __builtin_add_overflow(old, by, &value);
    bool above = over ? by > 0 : value > most, below = over ? by < 0 : value < least;
    bool puts = !(above || below) || x->args[WORD_SATURATE];
    value = !puts ? old : above ? most : below ? least : value;
    if (__builtin_sub_overflow(value, old, &added))
        added = value > old ? INT64_MAX : INT64_MIN;
    if (puts) {
        char text[NUMBER_INTEGER_SIZE_MAX];
        int64_t expires_ms = expiry_of(x, &p);
        bool persists = expires_ms == DB_NO_EXPIRY && p.entry && db_expiry(&p) != DB_NO_EXPIRY;
        db_put_integer(&p, value, expires_ms);
        tell(c, &p, (struct slice){text, number_format_integer(text, value)}, expires_ms, persists,
             "incrby");
    }

    reply_array(&c->reply, 2);
    reply_integer(&c->reply, value);
    reply_integer(&c->reply, added);
}

/* ---- By floats ---- */

static bool read_float(struct call *c, const struct increx *x, enum word w, long double *value)
{
    if (!x->args[w] || number_parse_long_double(c->argv[x->args[w] + 1], value))
        return true;
    reply_error(&c->reply, "ERR %s is not a valid float", names[w]);
    return false;
}

static bool read_old_float(struct call *c, const struct place *p, long double *old)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    if (!check_type(c, p))
        return false;
    if (!p->entry || number_parse_long_double(db_string(p, scratch), old))
        return true;
    reply_error_float(&c->reply);
    return false;
}

static void reply_float(struct reply *r, long double value)
{
    char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
    if (r->protocol == 3)
        reply_double(r, (double)value);
    else
        reply_bulk(r, (struct slice){text, number_format_long_double(text, value)});
}

static void run_float(struct call *c, const struct increx *x)
{
    long double by = 1, least = -LDBL_MAX, most = LDBL_MAX, old = 0;
    if (!read_float(c, x, WORD_BY, &by) || !read_float(c, x, WORD_LBOUND, &least) ||
        !read_float(c, x, WORD_UBOUND, &most) || (least > most && !refuse_bounds(c)))
        return;
    struct place p = db_find(c, 1, DB_WRITE);
    if (!read_old_float(c, &p, &old))
        return;

    long double value = old + by;
    bool above = value > most, below = value < least;
    bool puts = !isnan(value) && (!(above || below) || x->args[WORD_SATURATE]);
    value = !puts ? old : above ? most : below ? least : value;
    puts = puts && isfinite(value);
    if (puts) {
        char text[NUMBER_LONG_DOUBLE_SIZE_MAX];
        int64_t expires_ms = expiry_of(x, &p);
        bool persists = expires_ms == DB_NO_EXPIRY && p.entry && db_expiry(&p) != DB_NO_EXPIRY;
        struct slice written = {text, number_format_long_double(text, value)};
        db_put_text(&p, written, expires_ms);
        tell(c, &p, written, expires_ms, persists, "incrbyfloat");
    } else {
        value = old;
    }

    reply_array(&c->reply, 2);
    reply_float(&c->reply, value);
    reply_float(&c->reply, value - old);
}

static void increx(struct call *c)
{
    struct increx x = {.expiry = OPTION_NONE};
    if (!read_words(c, &x) || !read_expiry(c, &x))
        return;
    if (x.by_float)
        run_float(c, &x);
    else
        run_integer(c, &x);
}

const struct command increx_commands[] = {
    {
        .name = "increx",
        .run = increx,
        .arity = -2,
        .route = ROUTE_KEY,
        .flags = CMD_WRITE | CMD_DENYOOM | CMD_FAST,
        .acl = ACL_STRING,
        .keys = KEYS_ONE(KEY_RW | KEY_ACCESS | KEY_UPDATE),
        .group = "string",
        .since = "8.8.0",
        .complexity = "O(1)",
        .syntax = "key [BYFLOAT increment | BYINT increment] [SATURATE] [LBOUND lowerbound] "
                  "[UBOUND upperbound] [EX seconds | PX milliseconds | EXAT unix-time-seconds | "
                  "PXAT unix-time-milliseconds | PERSIST] [ENX]",
        .summary = "Adds to the number of a key, within bounds, and sets its expiration.",
    },
    {0},
};
