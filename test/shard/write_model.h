/* Commands at random: of every row that writes, on small and large values of all types, wrong ones
 * among them. What tests of undo and of snapshots do to a world. */
#pragma once

#include <inttypes.h>
#include <stdarg.h>

#include "test/shard/undo_driver.h"

#define COMMANDS_MAX 8 /* a round */
#define BIG 500        /* elements of large collections: more than are copied */
#define TEXT_MAX ((size_t)400000)

struct model {
    struct world world;
    uint64_t state; /* of the random sequence */
    uint64_t noted, refused, taken_back;
    char text[TEXT_MAX]; /* what arguments are made of */
    size_t used;
    char log[COMMANDS_MAX * 256]; /* the round's commands */
    size_t logged;
};

/* Words with '%' are made up: %s %p %l %e %z %h %x a key of a string, HyperLogLog, list, set,
 * sorted set, hash, stream; %m a member, %v a value, %i an integer, %n a count, %f a float, %d a
 * database, %I a message's id, %t %T a span in seconds and ms, %a %A a time likewise, %G a group,
 * %c a consumer, %b a bound of members, %P a payload of DUMP. */
static const char *const templates[] = {
    "SET %s %v", "SET %s %v", "SET %s %v EX %t", "SET %s %v NX", "SET %s %v XX KEEPTTL",
    "SET %s %i GET", "SET %s %v PXAT %A", "SET %s %v IFEQ %v", "SETNX %s %v", "SETEX %s %t %v",
    "PSETEX %s %T %v", "GETSET %s %v", "GETDEL %s", "GETEX %s", "GETEX %s EX %t", "DELEX %s",
    "GETEX %s EXAT %a", "GETEX %s PXAT %A", "GETEX %s PERSIST", "DELEX %s IFEQ %v",
    "MSET %s %v %s %v", "MSET %l %v", "MSETNX %s %v %s %v", "MSETEX 2 %s %v %s %v EX %t",
    "MSETEX 1 %s %v NX", "APPEND %s %v", "SETRANGE %s %i %v", "SETRANGE %s 66000 %v",
    "INCR %s", "DECR %s", "INCRBY %s %i", "DECRBY %s %i", "INCRBYFLOAT %s %f",
    "INCREX %s BYINT %i EX 50",
    "SETBIT %s %i 1", "SETBIT %s 530000 1", "BITFIELD %s SET u8 %i %n", "BITOP AND %s %s %s",
    "BITFIELD %s INCRBY i16 %i %n GET u8 0", "BITOP NOT %s %s", "BITOP XOR %s %s %l",
    "EXPIRE %h %t", "EXPIRE %e %t GT", "PEXPIRE %z %T", "EXPIREAT %l %a", "PEXPIREAT %s %A",
    "PEXPIREAT %x %A NX", "PERSIST %s", "PERSIST %e", "PERSIST %l", "COPY %s %s", "COPY %e %e",
    "COPY %l %l REPLACE", "COPY %h %h DB %d REPLACE", "COPY %x %x REPLACE", "COPY %z %z DB %d",
    "DEL %s %l %e", "DEL %h", "DEL %z %x", "UNLINK %l %h", "UNLINK %z", "UNLINK %e %e",
    "MOVE %s %d", "MOVE %l %d", "MOVE %e %d", "MOVE %z %d", "MOVE %h %d", "MOVE %x %d",
    "RENAME %s %s", "RENAME %l %l", "RENAME %e %e", "RENAME %z %z", "RENAME %h %h",
    "RENAME %x %x", "RENAMENX %e %e", "RENAMENX %z %h", "RENAMENX %l %l", "RENAMENX %x %s",
    "SORT %l ALPHA STORE %l", "SORT %e ALPHA DESC", "SORT %z BY nosort LIMIT 0 3 STORE %l",
    "SORT %l ALPHA STORE %e STORE %l",
    "GEOADD %z %f %f %m", "GEOADD %z NX CH %f %f %m %f %f %m", "GEORADIUS %z 1 1 9000 km",
    "GEORADIUS %z 1 1 9000 km COUNT %n STORE %z", "GEORADIUSBYMEMBER %z %m 900 km STORE %z",
    "GEORADIUSBYMEMBER %z %m 10 km STOREDIST %z",
    "GEOSEARCHSTORE %z %z FROMLONLAT 1 1 BYRADIUS 9000 km ASC COUNT %n",
    "HSET %h %m %v", "HSET %h %m %v %m %v", "HSET %h %m %v", "HMSET %h %m %v %m %i",
    "HSETNX %h %m %v", "HDEL %h %m", "HDEL %h %m %m %m", "HINCRBY %h %m %i",
    "HINCRBYFLOAT %h %m %f", "HEXPIRE %h %t FIELDS 1 %m", "HEXPIRE %h %t NX FIELDS 2 %m %m",
    "HEXPIREAT %h %a FIELDS 1 %m", "HPEXPIRE %h %T FIELDS 2 %m %m", "HPERSIST %h FIELDS 1 %m",
    "HPEXPIREAT %h %A GT FIELDS 1 %m", "HPERSIST %h FIELDS 2 %m %m", "HGETDEL %h FIELDS 1 %m",
    "HGETDEL %h FIELDS 3 %m %m %m", "HGETEX %h EX %t FIELDS 1 %m", "HGETEX %h PERSIST FIELDS 1 %m",
    "HGETEX %h PXAT %A FIELDS 2 %m %m", "HSETEX %h EX %t FIELDS 1 %m %v",
    "HSETEX %h FXX KEEPTTL FIELDS 2 %m %v %m %v", "HSETEX %h PXAT %A FIELDS 1 %m %v",
    "PFADD %p %m %m", "PFADD %p", "PFMERGE %p %p %p", "PFMERGE %p",
    "LPUSH %l %v", "RPUSH %l %m %v", "LPUSHX %l %m", "RPUSHX %l %m %v", "LPOP %l", "RPOP %l",
    "LPOP %l %n", "RPOP %l %n", "LPOP %l 5000", "LSET %l %i %v", "LSET %l -%n %v",
    "LINSERT %l BEFORE %m %v", "LINSERT %l AFTER %m %v", "LREM %l 0 %m", "LREM %l -%n %m",
    "LREM %l %n %m", "LTRIM %l %n -%n", "LTRIM %l %i %i", "LTRIM %l -%i %i", "LTRIM %l 0 -1",
    "BLPOP %l %l 0", "BRPOP %l %l 0", "BLMPOP 0 2 %l %l RIGHT COUNT %n", "BLMPOP 0 1 %l LEFT",
    "BLMOVE %l %l LEFT LEFT 0", "BLMOVE %l %l RIGHT LEFT 0", "BRPOPLPUSH %l %l 0",
    "LMOVE %l %l LEFT LEFT", "LMOVE %l %l LEFT RIGHT", "LMOVE %l %l RIGHT LEFT",
    "LMOVE %l %l RIGHT RIGHT", "RPOPLPUSH %l %l", "LMPOP 2 %l %l RIGHT", "LMPOP 1 %l LEFT COUNT %n",
    "SADD %e %m", "SADD %e %m %i %m", "SADD %e %v", "SREM %e %m", "SREM %e %m %m %m %i",
    "SMOVE %e %e %m", "SPOP %e", "SPOP %e %n", "SDIFFSTORE %e %e %e", "SINTERSTORE %e %e %e",
    "SUNIONSTORE %e %e %e", "SUNIONSTORE %e %e", "SINTERSTORE %e %e",
    "XADD %x * %m %v", "XADD %x * %m %v %m %v", "XADD %x NOMKSTREAM * %m %v", "XADD %x %I %m %v",
    "XADD %x MAXLEN %n * %m %v", "XADD %x NOMKSTREAM MAXLEN ~ %n LIMIT 0 * %m %v",
    "XADD %x MINID %I * %m %v", "XDEL %x %I", "XDEL %x %I %I", "XDELEX %x DELREF IDS 1 %I",
    "XSETID %x 1800000000001-0", "XTRIM %x MAXLEN %n", "XTRIM %x MINID ~ %I",
    "XGROUP CREATE %x %G 0 MKSTREAM", "XGROUP CREATE %x %G $", "XGROUP SETID %x %G %I",
    "XGROUP CREATECONSUMER %x %G %c", "XGROUP DELCONSUMER %x %G %c", "XGROUP DESTROY %x %G",
    "XREADGROUP GROUP %G %c COUNT %n STREAMS %x >", "XREADGROUP GROUP %G %c STREAMS %x %x > 0",
    "XACK %x %G %I", "XACKDEL %x %G IDS 1 %I", "XCLAIM %x %G %c 0 %I FORCE",
    "XAUTOCLAIM %x %G %c 0 - COUNT %n",
    "ZADD %z %f %m", "ZADD %z %f %m %f %m", "ZADD %z NX %f %m", "ZADD %z XX GT CH %f %m %f %m",
    "ZADD %z INCR %f %m", "ZADD %z LT %f %m", "ZINCRBY %z %f %m", "ZREM %z %m", "ZREM %z %m %m",
    "ZREMRANGEBYSCORE %z %f (%f", "ZREMRANGEBYSCORE %z -inf %i", "ZREMRANGEBYRANK %z %i %i",
    "ZREMRANGEBYRANK %z -%n -1", "ZREMRANGEBYLEX %z %b %b", "ZPOPMIN %z", "ZPOPMAX %z",
    "ZPOPMIN %z %n", "ZPOPMAX %z %n", "BZPOPMIN %z %z 0", "BZPOPMAX %z 0", "ZMPOP 2 %z %z MIN",
    "BZMPOP 0 1 %z MAX COUNT %n", "ZMPOP 1 %z MAX COUNT %n", "ZRANGESTORE %z %z 0 %n",
    "ZDIFFSTORE %z 2 %z %z", "ZINTERSTORE %z 2 %z %z WEIGHTS 1 2", "ZUNIONSTORE %z 2 %z %e",
    "ZUNIONSTORE %z 1 %z AGGREGATE MAX", "FLUSHALL", "FLUSHDB", "SWAPDB 0 1",
    "RESTORE %s 0 %P", "RESTORE %l %t %P REPLACE", "RESTORE-ASKING %h %A %P REPLACE ABSTTL",
};

static inline uint64_t draw(struct model *m, uint64_t below)
{
    uint64_t x = m->state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (x ^ x >> 31) % below;
}

/* --- Arguments --- */

__attribute__((format(printf, 2, 3)))
static inline struct slice make(struct model *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *to = m->text + m->used;
    int size = vsnprintf(to, TEXT_MAX - m->used, format, args);
    va_end(args);
    m->used += (size_t)size + 1;
    cr_assert_lt(m->used, TEXT_MAX);
    return (struct slice){to, (size_t)size};
}

static inline struct slice make_member(struct model *m)
{
    if (draw(m, 3) == 0)
        return make(m, "%u", (unsigned)draw(m, 6));
    return make(m, "member-of-some-length-%u", (unsigned)draw(m, BIG + 50));
}

static inline struct slice make_value(struct model *m)
{
    static const int sizes[] = {0, 1, 5, 20, 60, 200, 1500, 6000};
    uint64_t kind = draw(m, 40);
    if (kind == 0)
        return make(m, "%070000u", (unsigned)draw(m, 9));
    if (kind < 8)
        return make(m, "%d", (int)draw(m, 1000));
    if (kind < 12)
        return make_member(m);
    int size = sizes[draw(m, sizeof(sizes) / sizeof(sizes[0]))];
    return make(m, "%.*s%0*u", size != 0, "v", size, (unsigned)draw(m, 9));
}

static inline struct slice make_key(struct model *m, char family)
{
    static const char families[] = "splezhx";
    if (draw(m, 25) == 0)
        family = families[draw(m, sizeof(families) - 1)];
    return make(m, "%c%u", family, (unsigned)draw(m, 4));
}

static inline struct slice make_time(struct model *m, char kind)
{
    static const int64_t spans[] = {-5, 0, 1, 3, 100, 100000};
    int64_t span = spans[draw(m, 6)];
    int64_t now = m->world.now_ms;
    switch (kind) {
    case 't':
        return make(m, "%" PRId64, span);
    case 'T':
        return make(m, "%" PRId64, span * 700);
    case 'a':
        return make(m, "%" PRId64, now / 1000 + span);
    default:
        return make(m, "%" PRId64, now + span * 700);
    }
}

static inline struct slice make_number(struct model *m, char kind)
{
    if (kind == 'i')
        return make(m, "%u", (unsigned)draw(m, draw(m, 3) ? 8 : BIG));
    if (kind == 'n')
        return make(m, "%u", (unsigned)(1 + draw(m, 5)));
    if (kind == 'd')
        return make(m, "%u", (unsigned)draw(m, 3));
    return make(m, "%s%u.%u", draw(m, 5) ? "" : "-", (unsigned)draw(m, 80), (unsigned)draw(m, 4));
}

static inline struct slice make_word(struct model *m, char kind)
{
    switch (kind) {
    case 'm':
        return make_member(m);
    case 'v':
        return make_value(m);
    case 'I':
        return draw(m, 9) ? make(m, "%u-1", (unsigned)(1 + draw(m, BIG)))
                          : make(m, "%" PRId64 "-9", m->world.now_ms);
    case 'G':
        return make(m, "group%u", (unsigned)draw(m, 2));
    case 'c':
        return make(m, "consumer%u", (unsigned)draw(m, 3));
    case 'P':
        return (struct slice){"\x00\xc0\n\n\x00n\x9fWE\x0e\xae" "c\xbb", 13};
    case 'b':
        return draw(m, 3) ? make(m, "[member-of-some-length-%u", (unsigned)draw(m, BIG))
                          : make(m, "%s", draw(m, 2) ? "-" : "+");
    case 't':
    case 'T':
    case 'a':
    case 'A':
        return make_time(m, kind);
    default:
        return make_number(m, kind);
    }
}

/* A word of a template, with what stands around its '%x'. */
static inline struct slice make_argument(struct model *m, const char *word, size_t size,
                                         bool *is_key)
{
    const char *mark = memchr(word, '%', size);
    *is_key = false;
    if (!mark)
        return (struct slice){word, size};
    *is_key = strchr("splezhx", mark[1]) != NULL;
    struct slice made = *is_key ? make_key(m, mark[1]) : make_word(m, mark[1]);
    if (mark == word)
        return made;
    return make(m, "%.*s%.*s", (int)(mark - word), word, (int)made.size, made.data);
}

static inline void make_request(struct model *m, const char *template, struct request *r)
{
    m->used = 0;
    r->argc = r->key_count = 0;
    while (*template) {
        bool is_key;
        size_t size = strcspn(template, " ");
        r->argv[r->argc] = make_argument(m, template, size, &is_key);
        if (is_key)
            r->keys[r->key_count++] = r->argc;
        r->argc++;
        template += size + (template[size] == ' ');
    }
    /* Some are wrong, in what is no key. */
    uint32_t spoilt = (uint32_t)draw(m, 25 * r->argc);
    bool is_key = spoilt < 2;
    for (uint32_t i = 0; i < r->key_count; i++)
        is_key |= spoilt == r->keys[i];
    if (spoilt < r->argc && !is_key)
        r->argv[spoilt] = make(m, "%s", draw(m, 2) ? "bad" : "-1");
}

/* --- Rounds --- */

static inline void log_request(struct model *m, const struct request *r)
{
    char *line = m->log + m->logged, *to = line;
    for (uint32_t i = 0; i < r->argc && to - line < 200; i++)
        to += sprintf(to, "%.*s ", (int)(r->argv[i].size < 40 ? r->argv[i].size : 40),
                      r->argv[i].data);
    *to++ = '\n';
    *to = '\0';
    m->logged += (size_t)(to - line);
}

static inline void make_any(struct model *m, struct request *r)
{
    make_request(m, templates[draw(m, sizeof(templates) / sizeof(templates[0]))], r);
    m->world.db = draw(m, 10) == 0;
}

/* Each is noted, and not run where that cannot be. */
static inline void run_some(struct model *m, struct undo *u)
{
    static struct request r;
    m->logged = 0;
    m->log[0] = '\0';
    for (uint64_t n = 1 + draw(m, COMMANDS_MAX); n > 0; n--) {
        make_any(m, &r);
        if (m->logged + 256 > sizeof(m->log))
            break;
        log_request(m, &r);
        bool noted = run_noted(&m->world, u, &r);
        m->noted += noted;
        m->refused += !noted;
    }
}

static inline void fill_line(struct model *m, const char *format, unsigned i)
{
    m->used = 0;
    for (char key = '0'; key < '2'; key++) {
        char line[200], numbered[200];
        snprintf(line, sizeof(line), format, key, i, i, i);
        snprintf(numbered, sizeof(numbered), "%s", line);
        world_run(&m->world, numbered);
    }
}

/* Two keys of each type get large. */
static inline void fill(struct model *m)
{
    m->world.db = 0;
    world_run(&m->world, "DEL e0 e1 h0 h1 l0 l1 z0 z1 x0 x1 s0 s1");
    for (unsigned i = 0; i < BIG; i++) {
        fill_line(m, "SADD e%c member-of-some-length-%u", i);
        fill_line(m, "HSET h%c member-of-some-length-%u value-of-some-length-%u", i);
        fill_line(m, "RPUSH l%c member-of-some-length-%u", i);
        fill_line(m, "ZADD z%c %u.5 member-of-some-length-%u", i);
        fill_line(m, "XADD x%c %u-1 field value-of-some-length-%u-%064u", i + 1);
    }
    fill_line(m, "SETRANGE s%c 70%03u end", 0);
    fill_line(m, "XGROUP CREATE x%c group0 0", 0);
}
