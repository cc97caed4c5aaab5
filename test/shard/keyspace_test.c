/* Slots as Redis Cluster's specification gives them, the spread over shards, and the hash. */
#include "shard/keyspace.h"

#include <criterion/criterion.h>

#define KEY_SIZE_MAX 300

static struct keyspace keyspace;

static void start(uint32_t shard_count)
{
    unsigned char secret[HASH_SECRET_SIZE];
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (unsigned char)(i * 167 + 13);
    keyspace_init(&keyspace, shard_count, 16, secret);
}

/* CRC16 XMODEM a bit at a time, as its definition reads. */
static uint32_t crc16_by_bits(const char *data, size_t size)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)(unsigned char)data[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0)) & 0xffff;
    }
    return crc;
}

static uint32_t slot(const char *key)
{
    return keyspace_slot(slice_of(key));
}

static uint32_t slot_of_whole(const char *key)
{
    return crc16_by_bits(key, strlen(key)) % SLOT_COUNT;
}

Test(keyspace, knows_the_published_check_value)
{
    cr_assert_eq(slot("123456789"), 0x31c3);
    cr_assert_eq(slot("foo"), 12182);
    cr_assert_eq(slot(""), 0);
}

Test(keyspace, agrees_with_the_definition_of_the_crc_for_all_sizes)
{
    char key[KEY_SIZE_MAX];
    for (size_t size = 0; size < sizeof(key); size++) {
        for (size_t i = 0; i < size; i++) {
            key[i] = (char)(i * 31 + size * 7);
            key[i] = key[i] == '{' ? '!' : key[i];
        }
        uint32_t expected = crc16_by_bits(key, size) % SLOT_COUNT;
        cr_assert_eq(keyspace_slot((struct slice){key, size}), expected, "size %zu", size);
    }
}

Test(keyspace, agrees_with_the_definition_of_the_crc_for_every_byte_in_every_place)
{
    char key[17] = {0};
    for (size_t place = 0; place < sizeof(key); place++) {
        for (int byte = 0; byte < 256; byte++) {
            key[place] = (char)byte;
            if (byte != '{')
                cr_assert_eq(keyspace_slot((struct slice){key, sizeof(key)}),
                             crc16_by_bits(key, sizeof(key)) % SLOT_COUNT);
        }
        key[place] = 0;
    }
}

Test(keyspace, hashes_only_the_tag)
{
    cr_assert_eq(slot("{user1000}.following"), slot("{user1000}.followers"));
    cr_assert_eq(slot("{user1000}.following"), slot("user1000"));
    cr_assert_eq(slot("foo{bar}{zap}"), slot("bar"));
    cr_assert_eq(slot("foo{{bar}}zap"), slot_of_whole("{bar"));
    cr_assert_eq(slot("x{bar}"), slot("bar"));
}

Test(keyspace, hashes_the_whole_key_where_a_tag_is_empty_or_open)
{
    const char *keys[] = {"foo{}{bar}", "{}", "{}bar", "foo{bar", "foo}bar{", "{", "}", "foo}bar"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        cr_assert_eq(slot(keys[i]), slot_of_whole(keys[i]), "%s", keys[i]);
}

Test(keyspace, takes_zero_bytes_within_keys)
{
    struct slice a = {"a\0b", 3}, b = {"a\0c", 3};
    cr_assert_neq(keyspace_slot(a), keyspace_slot(b));
    struct slice tagged = {"\0{a\0b}", 6};
    cr_assert_eq(keyspace_slot(tagged), keyspace_slot(a));
}

Test(keyspace, gives_each_shard_one_run_of_slots_of_about_the_same_length)
{
    const uint32_t counts[] = {1, 2, 3, 7, 8, 64, 255, 256};
    for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++) {
        start(counts[n]);
        uint32_t sizes[SHARD_COUNT_MAX] = {0};
        for (uint32_t i = 0; i < SLOT_COUNT; i++) {
            uint32_t shard = keyspace.shard_of_slot[i];
            cr_assert_lt(shard, counts[n]);
            cr_assert(i == 0 || shard == keyspace.shard_of_slot[i - 1] ||
                      shard == keyspace.shard_of_slot[i - 1] + 1u);
            sizes[shard]++;
        }
        for (uint32_t i = 0; i < counts[n]; i++) {
            cr_assert_geq(sizes[i], SLOT_COUNT / counts[n]);
            cr_assert_leq(sizes[i], SLOT_COUNT / counts[n] + 1);
        }
    }
}

Test(keyspace, routes_a_key_by_its_slot)
{
    start(4);
    cr_assert_eq(keyspace_shard(&keyspace, slice_of("foo")), keyspace.shard_of_slot[12182]);
    start(1);
    cr_assert_eq(keyspace_shard(&keyspace, slice_of("foo")), 0);
}

Test(keyspace, hashes_by_the_secret)
{
    start(1);
    uint64_t hash = keyspace_hash(&keyspace, slice_of("foo"));
    cr_assert_eq(keyspace_hash(&keyspace, slice_of("foo")), hash);
    cr_assert_neq(keyspace_hash(&keyspace, slice_of("fop")), hash);
    for (size_t i = 0; i < HASH_SECRET_SIZE; i++)
        keyspace.hash_secret[i] ^= (unsigned char)(i * 91 + 1);
    cr_assert_neq(keyspace_hash(&keyspace, slice_of("foo")), hash);
}
