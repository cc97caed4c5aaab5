/* A client of hiredis, as C programs are: single commands, pipelines, arguments of any bytes.
 *
 *     hiredis_smoke PORT
 *
 * Prints what was wrong and exits 1, or exits 0. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE_COUNT 5000

static void fail(const char *what, const redisContext *c)
{
    fprintf(stderr, "hiredis_smoke: %s%s%s\n", what, c && c->err ? ": " : "",
            c && c->err ? c->errstr : "");
    exit(1);
}

static redisReply *next_reply(redisContext *c)
{
    void *reply = NULL;
    if (redisGetReply(c, &reply) != REDIS_OK || !reply)
        fail("no reply", c);
    return reply;
}

static void expect_status(redisContext *c, redisReply *r, const char *due)
{
    if (!r || r->type != REDIS_REPLY_STATUS || strcmp(r->str, due) != 0)
        fail("not the status that was due", c);
    freeReplyObject(r);
}

static void expect_string(redisContext *c, redisReply *r, const char *due, size_t size)
{
    if (!r || r->type != REDIS_REPLY_STRING || r->len != size || memcmp(r->str, due, size) != 0)
        fail("not the string that was due", c);
    freeReplyObject(r);
}

static void try_single_commands(redisContext *c)
{
    expect_status(c, redisCommand(c, "PING"), "PONG");
    expect_status(c, redisCommand(c, "SET %s %d", "smoke:n", 41), "OK");
    redisReply *r = redisCommand(c, "INCR smoke:n");
    if (!r || r->type != REDIS_REPLY_INTEGER || r->integer != 42)
        fail("INCR does not say 42", c);
    freeReplyObject(r);
    r = redisCommand(c, "GET smoke:none");
    if (!r || r->type != REDIS_REPLY_NIL)
        fail("a key that is not there is not nil", c);
    freeReplyObject(r);
    r = redisCommand(c, "INCR");
    if (!r || r->type != REDIS_REPLY_ERROR || strncmp(r->str, "ERR wrong number", 16) != 0)
        fail("a wrong call is not refused", c);
    freeReplyObject(r);
}

static void try_any_bytes(redisContext *c)
{
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    expect_status(c, redisCommand(c, "SET %b %b", bytes, sizeof(bytes), bytes, sizeof(bytes)),
                  "OK");
    expect_string(c, redisCommand(c, "GET %b", bytes, sizeof(bytes)), bytes, sizeof(bytes));
    const char *argv[] = {"APPEND", bytes, "\0\r\n"};
    size_t sizes[] = {6, sizeof(bytes), 3};
    redisReply *r = redisCommandArgv(c, 3, argv, sizes);
    if (!r || r->type != REDIS_REPLY_INTEGER || r->integer != 259)
        fail("APPEND does not say 259", c);
    freeReplyObject(r);
}

static void try_a_pipeline(redisContext *c)
{
    for (int i = 0; i < PIPELINE_COUNT; i++) {
        redisAppendCommand(c, "SET smoke:%d %d", i, i);
        redisAppendCommand(c, "GET smoke:%d", i);
        if (i % 100 == 0)
            redisAppendCommand(c, "MGET smoke:%d smoke:none", i);
    }
    for (int i = 0; i < PIPELINE_COUNT; i++) {
        char due[16];
        int size = snprintf(due, sizeof(due), "%d", i);
        expect_status(c, next_reply(c), "OK");
        expect_string(c, next_reply(c), due, (size_t)size);
        if (i % 100)
            continue;
        redisReply *r = next_reply(c);
        if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
            strcmp(r->element[0]->str, due) != 0 || r->element[1]->type != REDIS_REPLY_NIL)
            fail("not the array that was due", c);
        freeReplyObject(r);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        fail("usage: hiredis_smoke PORT", NULL);
    redisContext *c = redisConnect("127.0.0.1", atoi(argv[1]));
    if (!c || c->err)
        fail("cannot connect", c);
    try_single_commands(c);
    try_any_bytes(c);
    try_a_pipeline(c);
    redisFree(c);
    return 0;
}
