/* CRC-64: see crc64.h. Eight bytes at a time ("slicing by 8": Kounavis and Berry, "Novel Table
 * Lookup- Based Algorithms for High-Performance CRC Generation", 2008): table k holds what a
 * byte becomes with k more bytes behind it. A remainder is linear in the bits of its byte, so
 * the tables are made by the preprocessor from what the eight single bits become. */
#include "proto/crc64.h"

#define FOLD(i, b0, b1, b2, b3, b4, b5, b6, b7) \
    (((i)&1 ? b0 : 0) ^ ((i)&2 ? b1 : 0) ^ ((i)&4 ? b2 : 0) ^ ((i)&8 ? b3 : 0) ^ \
     ((i)&16 ? b4 : 0) ^ ((i)&32 ? b5 : 0) ^ ((i)&64 ? b6 : 0) ^ ((i)&128 ? b7 : 0))

#define ROW_0(i) \
    FOLD(i, 0x7ad870c830358979U, 0xf5b0e190606b12f2U, 0xc038e5739841b68fU, \
         0xab28ecb46814fe75U, 0x7d08ff3b88be6f81U, 0xfa11fe77117cdf02U, \
         0xdf7adabd7a6e2d6fU, 0x95ac9329ac4bc9b5U)
#define ROW_1(i) \
    FOLD(i, 0x89e99ffd73bddf69U, 0x388a19a9bfec2db9U, 0x711433537fd85b72U, \
         0xe22866a6ffb0b6e4U, 0xef09eb1ea7f6fea3U, 0xf54af06e177a6e2dU, \
         0xc1ccc68f76634f31U, 0xa8c0ab4db4510d09U)
#define ROW_2(i) \
    FOLD(i, 0xf4125129ce4038beU, 0xc37d8400c417e217U, 0xada22e52d0b85745U, \
         0x701d7af6f9e73de1U, 0xe03af5edf3ce7bc2U, 0xeb2ccd88bf0b64efU, \
         0xfd00bd4226815ab5U, 0xd1585cd715952601U)
#define ROW_3(i) \
    FOLD(i, 0x8ce168638c796306U, 0x329bf69440655567U, 0x6537ed2880caaaceU, \
         0xca6fda510195559cU, 0xbf8692f15bbd3853U, 0x545403b1efede3cdU, \
         0xa8a80763dfdbc79aU, 0x7a092894e7201c5fU)
#define ROW_4(i) \
    FOLD(i, 0x3504e58b9ba6dd1eU, 0x6a09cb17374dba3cU, 0xd413962e6e9b7478U, \
         0x837e0a0f85a17b9bU, 0x2da5324c53d5645dU, 0x5b4a6498a7aac8baU, \
         0xb694c9314f559174U, 0x4670b431c63cb183U)
#define ROW_5(i) \
    FOLD(i, 0xe39d1389931b9354U, 0xec6301407ea0b5c3U, 0xf39f24d3a5d6f8edU, \
         0xcc676ff4133a62b1U, 0xb397f9bb7ee35609U, 0x4c76d525a5513f79U, \
         0x98edaa4b4aa27ef2U, 0x1a8272c5cdd36e8fU)
#define ROW_6(i) \
    FOLD(i, 0x62a95de6e302eff2U, 0xc552bbcdc605dfe4U, 0xa1fc51c8d49c2ca3U, \
         0x68a185c2f1afca2dU, 0xd1430b85e35f945aU, 0x89df31589e28bbdfU, \
         0x38e744e264c6e4d5U, 0x71ce89c4c98dc9aaU)
#define ROW_7(i) \
    FOLD(i, 0x381d0015c96f4444U, 0x703a002b92de8888U, 0xe074005725bd1110U, \
         0xebb126fd13edb14bU, 0xfc3b6ba97f4cf1fdU, 0xd32ff101a60e7091U, \
         0x8d06c450148b7249U, 0x3154aef3718177f9U)

#define TIMES_4(row, i) row(i), row(i + 1), row(i + 2), row(i + 3)
#define TIMES_16(row, i) \
    TIMES_4(row, i), TIMES_4(row, i + 4), TIMES_4(row, i + 8), TIMES_4(row, i + 12)
#define TIMES_64(row, i) \
    TIMES_16(row, i), TIMES_16(row, i + 16), TIMES_16(row, i + 32), TIMES_16(row, i + 48)
#define TIMES_256(row) \
    {TIMES_64(row, 0), TIMES_64(row, 64), TIMES_64(row, 128), TIMES_64(row, 192)}

static const uint64_t tables[8][256] = {
    TIMES_256(ROW_0), TIMES_256(ROW_1), TIMES_256(ROW_2), TIMES_256(ROW_3),
    TIMES_256(ROW_4), TIMES_256(ROW_5), TIMES_256(ROW_6), TIMES_256(ROW_7),
};

uint64_t crc64(uint64_t crc, struct slice data)
{
    const unsigned char *p = (const unsigned char *)data.data;
    size_t left = data.size;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t next = 0;
        for (unsigned i = 0; i < 8; i++)
            next ^= tables[7 - i][(crc >> 8 * i & 0xff) ^ p[i]];
        crc = next;
    }
    for (; left; left--)
        crc = tables[0][(crc & 0xff) ^ *p++] ^ crc >> 8;
    return crc;
}
