/* Moving blocks together and giving free pages back: what is in use keeps its bytes, and what is
 * resident follows what is in use. With the sanitizers' allocator the first half alone is seen. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/mem.h"

#define BLOCKS 40000

struct block {
    unsigned char *at; /* NULL: free */
    size_t size;
};

static struct block blocks[BLOCKS];
static struct mem_move moving;
static struct mem_map shared;
static uint64_t state = 7;

static uint64_t draw(uint64_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % bound;
}

/* Mostly small; pages of all kinds: small ones, medium ones, and blocks that have their own. */
static size_t draw_size(void)
{
    uint64_t kind = draw(2000);
    return 8 + draw(kind ? kind > 60 ? 700 : 20000 : draw(8) ? 900000 : 40000000);
}

static void fill(struct block *b)
{
    b->size = draw_size();
    b->at = mem_alloc(b->size);
    memset(b->at, (int)(b->size * 31 & 255), b->size < 100000 ? b->size : 100000);
}

static void empty(struct block *b)
{
    mem_free(b->at);
    b->at = NULL;
}

static uint64_t check(void)
{
    uint64_t used = 0;
    for (struct block *b = blocks; b < blocks + BLOCKS; b++) {
        if (!b->at)
            continue;
        used += b->size;
        size_t last = b->size < 100000 ? b->size : 100000;
        for (size_t i = 0; i < last; i += i + 64 < last || i + 1 == last ? 64 : last - i - 1)
            cr_assert_eq(b->at[i], b->size * 31 & 255);
    }
    return used;
}

static void *empty_some(void *context)
{
    for (struct block *b = blocks; b < blocks + BLOCKS; b += 5)
        empty(b);
    return context;
}

static void churn(uint64_t keep_share)
{
    for (struct block *b = blocks; b < blocks + BLOCKS; b++) {
        if (b->at && draw(keep_share))
            empty(b);
        else if (!b->at && draw(keep_share) == 0)
            fill(b);
    }
}

static void trim(void)
{
    uintptr_t from = 0;
    while (mem_trim(&moving, &from))
        continue;
}

/* A pass, with what others do between its slices. */
static void pass(bool trims_within)
{
    mem_move_look(&moving);
    mem_move_start(&moving, &shared, 1, 0);
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 1000 == 999) {
            struct block *other = &blocks[draw(BLOCKS)];
            empty(other);
            fill(other);
            if (trims_within)
                trim();
        }
        mem_move_begin(&moving);
        if (blocks[i].at)
            blocks[i].at = mem_move_block(&moving, blocks[i].at);
        mem_move_pause(&moving);
    }
    mem_move_end(&moving);
    trim();
}

static void stop(void)
{
    for (struct block *b = blocks; b < blocks + BLOCKS; b++)
        empty(b);
    mem_map_end(&shared);
}

TestSuite(mem_move, .fini = stop);

Test(mem_move, keeps_the_bytes_of_every_block_in_use)
{
    for (int round = 0; round < 12; round++) {
        for (struct block *b = blocks; b < blocks + BLOCKS; b++)
            if (!b->at && draw(2))
                fill(b);
        trim();
        check();
        churn(2 + draw(6));
        trim();
        check();
        pass(round % 2);
        check();
    }
}

Test(mem_move, keeps_them_while_other_threads_free)
{
    for (int round = 0; round < 4; round++) {
        pthread_t thread;
        for (struct block *b = blocks; b < blocks + BLOCKS; b++)
            if (!b->at)
                fill(b);
        cr_assert_eq(pthread_create(&thread, NULL, empty_some, NULL), 0);
        for (int i = 0; i < 20; i++)
            trim();
        pthread_join(thread, NULL);
        check();
        pass(true);
        check();
    }
}

#ifndef LASCA_SYSTEM_MALLOC
static uint64_t resident(void)
{
    unsigned long size, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%lu %lu", &size, &pages) == 2);
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Small blocks, of which few are left, all over the pages. */
Test(mem_move, what_is_resident_follows_what_is_used)
{
    trim();
    uint64_t before = resident(), used = 0;
    for (int round = 0; round < 3; round++) {
        for (struct block *b = blocks; b < blocks + BLOCKS; b++) {
            if (b->at)
                continue;
            b->size = 300 + draw(900);
            b->at = memset(mem_alloc(b->size), (int)(b->size * 31 & 255), b->size);
        }
        for (struct block *b = blocks; b < blocks + BLOCKS; b++)
            if (draw(5))
                empty(b);
        pass(false);
        used = check();
        cr_assert_lt(resident() - before, used + used / 4 + (4 << 20));
        cr_assert_lt(mem_move_look(&moving), used / 5 + (1 << 20));
        mem_move_end(&moving);
    }
}

/* The allocator's own notes of freed pages are looked at only when their segment is used again. */
Test(mem_move, a_trim_gives_back_what_nobody_asks_for_again)
{
    trim();
    uint64_t before = resident();
    enum { SIZE = 48 << 10 };
    for (int i = 0; i < 2000; i++)
        blocks[i] = (struct block){memset(mem_alloc(SIZE), SIZE * 31 & 255, SIZE), SIZE};
    for (int i = 0; i < 2000; i++)
        if (i % 200)
            empty(&blocks[i]);
    trim();
    check();
    cr_assert_lt(resident() - before, 10 * (uint64_t)(512 << 10) + (2 << 20));
}
#endif
