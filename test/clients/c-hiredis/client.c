/* hiredis: replies of all types, pipelines, and asynchronous connections on libevent. */
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(condition)                                                                              \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "client.c:%d: %s\n", __LINE__, #condition);                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define BIG_SIZE (5 << 20)
#define PIPELINE 10000
#define INCRS 5000

struct events {
    struct event_base *base;
    redisAsyncContext *publisher;
    redisAsyncContext *subscriber;
    int increments;
    int messages;
    int pattern_messages;
    int served;
};

static const char *host;
static int port;

static redisReply *call(redisContext *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    redisReply *r = redisvCommand(c, format, arguments);
    va_end(arguments);
    if (!r)
        fprintf(stderr, "%s: %s\n", format, c->errstr);
    OK(r);
    return r;
}

static void expect_text(redisReply *r, int type, const char *text)
{
    OK(r->type == type && strcmp(r->str, text) == 0);
    freeReplyObject(r);
}

static void expect_integer(redisReply *r, long long value)
{
    OK(r->type == REDIS_REPLY_INTEGER && r->integer == value);
    freeReplyObject(r);
}

static void expect_error(redisReply *r, const char *begin)
{
    OK(r->type == REDIS_REPLY_ERROR && strncmp(r->str, begin, strlen(begin)) == 0);
    freeReplyObject(r);
}

static void use_strings(redisContext *c)
{
    expect_text(call(c, "PING"), REDIS_REPLY_STATUS, "PONG");
    expect_text(call(c, "SET %s %b EX %d", "bin", "a\0b\r\nc", (size_t)6, 50), REDIS_REPLY_STATUS,
                "OK");
    redisReply *r = call(c, "GET %s", "bin");
    OK(r->len == 6 && memcmp(r->str, "a\0b\r\nc", 6) == 0);
    freeReplyObject(r);
    r = call(c, "GET none");
    OK(r->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
    expect_error(call(c, "LPUSH bin x"), "WRONGTYPE ");
    expect_error(call(c, "NOSUCH a"), "ERR unknown command 'NOSUCH'");

    char *big = malloc(BIG_SIZE);
    memset(big, 'q', BIG_SIZE);
    expect_text(call(c, "SET big %b", big, (size_t)BIG_SIZE), REDIS_REPLY_STATUS, "OK");
    r = call(c, "GET big");
    OK(r->len == BIG_SIZE && memcmp(r->str, big, r->len) == 0);
    freeReplyObject(r);
    free(big);
}

static void use_pipeline(redisContext *c)
{
    redisReply *r;
    for (int i = 0; i < PIPELINE; i++)
        OK(redisAppendCommand(c, "RPUSH list item:%d", i) == REDIS_OK);
    for (int i = 0; i < PIPELINE; i++) {
        OK(redisGetReply(c, (void **)&r) == REDIS_OK);
        expect_integer(r, i + 1);
    }
    r = call(c, "LRANGE list 0 -1");
    OK(r->elements == PIPELINE);
    OK(strcmp(r->element[PIPELINE - 1]->str, "item:9999") == 0);
    freeReplyObject(r);
}

static void use_transaction(redisContext *c)
{
    expect_text(call(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(call(c, "INCR n"), REDIS_REPLY_STATUS, "QUEUED");
    expect_text(call(c, "LPUSH n x"), REDIS_REPLY_STATUS, "QUEUED");
    expect_text(call(c, "GET n"), REDIS_REPLY_STATUS, "QUEUED");
    redisReply *r = call(c, "EXEC");
    OK(r->elements == 3 && r->element[0]->integer == 1);
    OK(r->element[1]->type == REDIS_REPLY_ERROR && strcmp(r->element[2]->str, "1") == 0);
    freeReplyObject(r);
}

static void use_script(redisContext *c)
{
    redisReply *r = call(c, "EVAL %s 1 k %s",
                         "return {KEYS[1],{ARGV[1],2,{3}},redis.status_reply('FINE')}", "z");
    OK(r->elements == 3 && r->element[1]->element[2]->element[0]->integer == 3);
    OK(r->element[2]->type == REDIS_REPLY_STATUS && strcmp(r->element[2]->str, "FINE") == 0);
    freeReplyObject(r);
}

static void use_collections(redisContext *c)
{
    const char *words[] = {"HSET", "h", "f 1", "v\"x"};
    const size_t sizes[] = {4, 1, 3, 3};
    expect_integer(redisCommandArgv(c, 4, words, sizes), 1);
    redisReply *r = call(c, "HGETALL h");
    OK(r->elements == 2 && strcmp(r->element[1]->str, "v\"x") == 0);
    freeReplyObject(r);
    expect_integer(call(c, "ZADD z 1 a 2.5 b"), 2);
    r = call(c, "ZRANGE z 0 -1 WITHSCORES");
    OK(r->elements == 4 && strcmp(r->element[3]->str, "2.5") == 0);
    freeReplyObject(r);
    expect_integer(call(c, "EXISTS %s %s", "z", "h"), 2);
    expect_integer(call(c, "EXPIRE z 10"), 1);
    r = call(c, "XADD s * f v");
    OK(strchr(r->str, '-'));
    freeReplyObject(r);
    r = call(c, "BLPOP none 0.1");
    OK(r->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
}

/* A program that takes one SCAN with a large COUNT for all of a small database. */
static void scan_at_once(redisContext *c)
{
    redisReply *r = call(c, "SCAN 0 COUNT 1000");
    OK(r->elements == 2 && strcmp(r->element[0]->str, "0") == 0);
    OK(r->element[1]->elements == 7);
    freeReplyObject(r);
}

static redisAsyncContext *connect_to(struct events *e)
{
    redisAsyncContext *a = redisAsyncConnect(host, port);
    OK(!a->err);
    OK(redisLibeventAttach(a, e->base) == REDIS_OK);
    return a;
}

static void on_increment(redisAsyncContext *a, void *reply, void *data)
{
    const redisReply *r = reply;
    struct events *e = data;
    OK(r && r->type == REDIS_REPLY_INTEGER && r->integer == ++e->increments);
    if (e->increments == INCRS)
        redisAsyncDisconnect(a);
}

static void on_served(redisAsyncContext *a, void *reply, void *data)
{
    const redisReply *r = reply;
    struct events *e = data;
    OK(r && r->type == REDIS_REPLY_ARRAY && strcmp(r->element[1]->str, "late") == 0);
    e->served++;
    redisAsyncDisconnect(a);
}

static void publish(struct events *e)
{
    redisAsyncCommand(e->publisher, NULL, NULL, "PUBLISH news %s", "one");
    redisAsyncCommand(e->publisher, NULL, NULL, "PUBLISH news %b", "t\0o", (size_t)3);
    redisAsyncCommand(e->publisher, NULL, NULL, "RPUSH queue late");
}

static void on_message(redisAsyncContext *a, void *reply, void *data)
{
    const redisReply *r = reply;
    struct events *e = data;
    (void)a;
    if (!r)
        return;
    OK(r->type == REDIS_REPLY_ARRAY);
    const char *kind = r->element[0]->str;
    if (strcmp(kind, "psubscribe") == 0)
        publish(e);
    if (strcmp(kind, "pmessage") == 0)
        e->pattern_messages++;
    if (strcmp(kind, "message") == 0 && ++e->messages == 2)
        OK(r->element[2]->len == 3 && memcmp(r->element[2]->str, "t\0o", 3) == 0);
    if (e->messages == 2 && e->pattern_messages == 2) {
        redisAsyncDisconnect(e->publisher);
        redisAsyncDisconnect(e->subscriber);
    }
}

static void use_events(void)
{
    struct events e = {.base = event_base_new()};
    redisAsyncContext *a = connect_to(&e);
    for (int i = 0; i < INCRS; i++)
        redisAsyncCommand(a, on_increment, &e, "INCR async");
    event_base_dispatch(e.base);
    OK(e.increments == INCRS);

    e.publisher = connect_to(&e);
    e.subscriber = connect_to(&e);
    redisAsyncCommand(connect_to(&e), on_served, &e, "BLPOP queue 5");
    redisAsyncCommand(e.subscriber, on_message, &e, "SUBSCRIBE news");
    redisAsyncCommand(e.subscriber, on_message, &e, "PSUBSCRIBE n*");
    event_base_dispatch(e.base);
    OK(e.messages == 2 && e.pattern_messages == 2 && e.served == 1);
    event_base_free(e.base);
}

int main(int argc, char **argv)
{
    OK(argc == 3);
    host = argv[1];
    port = atoi(argv[2]);
    redisContext *c = redisConnectWithTimeout(host, port, (struct timeval){3, 0});
    OK(c && !c->err);
    use_strings(c);
    use_pipeline(c);
    use_transaction(c);
    use_script(c);
    use_collections(c);
    scan_at_once(c);
    redisFree(c);
    use_events();
    return 0;
}
