/* DEBUG DIGEST: whether two servers hold the same data.
 *
 * The construction is Redis's, so that a Lasca can be compared with a Redis. Two operations on a
 * 20-byte digest, SHA-1 in both: *adding* data exclusive-ors its hash, which forgets the order;
 * *mixing* data adds it, then hashes the digest itself, which keeps the order. A value mixes its
 * type, then mixes its parts where they have an order (strings, lists, streams) and adds them where
 * they have none; a part of several (a field and its value) first makes a digest of its own by
 * mixing. A fixed text is added where the key expires. A key's digest starts with its name and is
 * added to the whole; before a database's keys, its number is mixed in.
 *
 * SHA-1 is FIPS 180-4's. Nothing here needs it to be hard to collide. */
#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "proto/number.h"
#include "server/cmd/debug.h"
#include "shard/db.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/zset.h"

/* ---- SHA-1 ---- */

#define BLOCK_SIZE 64
#define SCAN_STEP 1024

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

/* The function and constant of round t (FIPS 180-4, 4.1.1 and 4.2.1). */
static uint32_t round_term(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
    if (t < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (t < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (t < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void hash_block(uint32_t h[5], const unsigned char *block)
{
    uint32_t w[80];
    for (unsigned t = 0; t < 16; t++) {
        memcpy(&w[t], block + t * 4, 4);
        w[t] = ntohl(w[t]);
    }
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 80; t++) {
        uint32_t next = rotate(a, 5) + round_term(t, b, c, d) + e + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

static void sha1(struct slice data, unsigned char to[DEBUG_DIGEST_SIZE])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t whole = data.size / BLOCK_SIZE * BLOCK_SIZE;
    for (size_t at = 0; at < whole; at += BLOCK_SIZE)
        hash_block(h, (const unsigned char *)data.data + at);
    /* The end: what is left, one bit, zeros, and the size in bits in the last eight bytes. */
    unsigned char tail[2 * BLOCK_SIZE] = {0};
    size_t left = data.size - whole;
    size_t tail_size = left + 1 + 8 <= BLOCK_SIZE ? BLOCK_SIZE : 2 * BLOCK_SIZE;
    if (left)
        memcpy(tail, data.data + whole, left);
    tail[left] = 0x80;
    uint64_t bits = (uint64_t)data.size * 8;
    for (size_t i = 0; i < 8; i++)
        tail[tail_size - 1 - i] = (unsigned char)(bits >> (8 * i));
    for (size_t at = 0; at < tail_size; at += BLOCK_SIZE)
        hash_block(h, tail + at);
    for (size_t i = 0; i < 5; i++) {
        uint32_t word = htonl(h[i]);
        memcpy(to + i * 4, &word, 4);
    }
}

/* ---- The two operations ---- */

static void add(unsigned char digest[DEBUG_DIGEST_SIZE], struct slice data)
{
    unsigned char hash[DEBUG_DIGEST_SIZE];
    sha1(data, hash);
    for (size_t i = 0; i < DEBUG_DIGEST_SIZE; i++)
        digest[i] ^= hash[i];
}

static void mix(unsigned char digest[DEBUG_DIGEST_SIZE], struct slice data)
{
    unsigned char hash[DEBUG_DIGEST_SIZE];
    add(digest, data);
    sha1((struct slice){(const char *)digest, DEBUG_DIGEST_SIZE}, hash);
    memcpy(digest, hash, DEBUG_DIGEST_SIZE);
}

static void mix_number(unsigned char digest[DEBUG_DIGEST_SIZE], uint32_t number)
{
    uint32_t bytes = htonl(number);
    mix(digest, (struct slice){(const char *)&bytes, sizeof(bytes)});
}

/* ---- Values, keys, databases ---- */

static void mix_list(unsigned char digest[DEBUG_DIGEST_SIZE], const struct value *v)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct list_cursor at;
    list_cursor_start(&at, v, 0, false);
    for (; !list_cursor_ended(&at); list_cursor_next(&at))
        mix(digest, list_cursor_text(&at, scratch));
    list_cursor_stop(&at);
}

static void add_set(unsigned char digest[DEBUG_DIGEST_SIZE], const struct value *v)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    struct set_walk w;
    struct set_member m;
    set_walk_start(&w, v);
    while (set_walk_next(&w, &m))
        add(digest, set_member_text(&m, scratch));
}

/* Adds the digest of a part. */
static void add_digest(unsigned char digest[DEBUG_DIGEST_SIZE],
                       const unsigned char part[DEBUG_DIGEST_SIZE])
{
    add(digest, (struct slice){(const char *)part, DEBUG_DIGEST_SIZE});
}

static void add_zset(unsigned char digest[DEBUG_DIGEST_SIZE], const struct value *v)
{
    struct zset_walk w;
    struct slice member;
    double score;
    zset_walk_start(&w, v, 0, false);
    while (zset_walk_next(&w, &member, &score)) {
        unsigned char part[DEBUG_DIGEST_SIZE] = {0};
        char text[NUMBER_DOUBLE_SIZE_MAX];
        mix(part, member);
        mix(part, (struct slice){text, number_format_double(text, score)});
        add_digest(digest, part);
    }
}

static void add_field(void *context, const struct hash_pair *pair)
{
    unsigned char part[DEBUG_DIGEST_SIZE] = {0};
    mix(part, pair->field);
    mix(part, pair->value);
    if (pair->expires_ms != HASH_NO_EXPIRY)
        add(part, SLICE("!!hexpire!!"));
    add_digest(context, part);
}

static void mix_stream(unsigned char digest[DEBUG_DIGEST_SIZE], const struct value *v)
{
    struct stream_walk w;
    struct stream_id id;
    uint32_t pairs;
    stream_walk_start(&w, stream_of(v), STREAM_ID_MIN, STREAM_ID_MAX, false);
    while (stream_walk_next(&w, &id, &pairs)) {
        char text[STREAM_ID_SIZE_MAX + 1];
        int size = snprintf(text, sizeof(text), "%" PRIu64 ".%" PRIu64, id.ms, id.seq);
        mix(digest, (struct slice){text, (size_t)size});
        while (pairs--) {
            struct slice field, value;
            stream_walk_field(&w, &field, &value);
            mix(digest, field);
            mix(digest, value);
        }
    }
}

static void mix_collection(unsigned char digest[DEBUG_DIGEST_SIZE], const struct place *p)
{
    struct value v = db_value(p, entry_type(p->entry));
    switch (v.type) {
    case TYPE_LIST:
        mix_list(digest, &v);
        return;
    case TYPE_SET:
        add_set(digest, &v);
        return;
    case TYPE_ZSET:
        add_zset(digest, &v);
        return;
    case TYPE_HASH:
        hash_each(&v, p->shard->now_ms, add_field, digest);
        return;
    default:
        assert(v.type == TYPE_STREAM);
        mix_stream(digest, &v);
    }
}

/* Redis's number of the type: its streams come after a type for modules. */
static uint32_t type_number(unsigned type)
{
    return type == TYPE_STREAM ? TYPE_STREAM + 1 : type;
}

static void mix_value(unsigned char digest[DEBUG_DIGEST_SIZE], const struct place *p)
{
    char scratch[NUMBER_INTEGER_SIZE_MAX];
    mix_number(digest, type_number(entry_type(p->entry)));
    if (db_is_string(p))
        mix(digest, db_string(p, scratch));
    else
        mix_collection(digest, p);
    if (db_expiry(p) != DB_NO_EXPIRY)
        add(digest, SLICE("!!expire!!"));
}

void debug_digest_value(struct call *c, struct slice key, unsigned char digest[DEBUG_DIGEST_SIZE])
{
    memset(digest, 0, DEBUG_DIGEST_SIZE);
    struct place p = db_find_key(c, key, c->db, DB_PEEK);
    if (p.entry)
        mix_value(digest, &p);
}

struct walk {
    struct call *call;
    uint32_t db;
    unsigned char *digest;
};

static void add_key(void *context, struct entry *e)
{
    struct walk *w = context;
    unsigned char digest[DEBUG_DIGEST_SIZE] = {0};
    struct place p = db_find_key(w->call, entry_key(e), w->db, DB_PEEK);
    assert(p.entry == e);
    mix(digest, p.key);
    mix_value(digest, &p);
    add(w->digest, (struct slice){(const char *)digest, sizeof(digest)});
}

static bool has_keys(const struct call *c, uint32_t db)
{
    for (uint32_t i = 0; i < c->keyspace->shard_count; i++)
        if (db_key_count(c->shards[i], db))
            return true;
    return false;
}

void debug_digest(struct call *c, unsigned char digest[DEBUG_DIGEST_SIZE])
{
    memset(digest, 0, DEBUG_DIGEST_SIZE);
    for (uint32_t db = 0; db < c->keyspace->db_count; db++) {
        if (!has_keys(c, db))
            continue;
        mix_number(digest, db);
        struct walk w = {c, db, digest};
        for (uint32_t i = 0; i < c->keyspace->shard_count; i++) {
            uint64_t position = 0;
            do
                db_scan(c->shards[i], db, &position, SCAN_STEP, add_key, &w);
            while (position);
        }
    }
}
