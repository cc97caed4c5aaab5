/* The insides of reading values from RDB: what rdb_making.c and rdb_read*.c share. No one else
 * includes this.
 *
 * A value is made as it is read. Packed forms are validated completely before anything walks them,
 * element by element: a member twice, or scores out of order, would break what the types rely on,
 * and to find them costs little beside the copy. Whatever fails leaves a value that is freed by
 * rdb_value_deinit.
 *
 * Counts in the input are believed only as far as there are bytes left: every element has one at
 * least, and nothing is allocated for elements that have not been read. */
#pragma once

#include "shard/rdb.h"

struct rdb_making {
    struct rdb_reader *r;
    const struct rdb_options *o;
    struct rdb_value *v;
    struct buf scratch[2]; /* a field and its value are needed at once */
};

enum rdb_end rdb_corrupt(struct rdb_reader *r, const char *error);

/* The value becomes an empty collection. */
void rdb_begin(struct rdb_making *m, unsigned type);
/* The value becomes one that has been made. */
void rdb_become(struct rdb_making *m, unsigned type, unsigned encoding, void *data);
/* One more of it. An element that is there already is corruption. */
enum rdb_end rdb_add_field(struct rdb_making *m, struct slice field, struct slice value,
                           int64_t expires_ms);
enum rdb_end rdb_add_member(struct rdb_making *m, struct slice member);
enum rdb_end rdb_add_scored(struct rdb_making *m, struct slice member, double score);

/* The value becomes what a well-formed listpack, which is taken, holds. A list gets it as its next
 * node. */
enum rdb_end rdb_take_hash(struct rdb_making *m, unsigned char *lp);
enum rdb_end rdb_take_set(struct rdb_making *m, unsigned char *lp);
enum rdb_end rdb_take_zset(struct rdb_making *m, unsigned char *lp);
void rdb_take_list_node(struct rdb_making *m, unsigned char *lp);

/* Ziplists and zipmaps (rdb_read_old.c): the elements as a listpack, NULL where it is malformed. */
unsigned char *rdb_unpack_ziplist(struct slice bytes);
enum rdb_end rdb_read_zipmap(struct rdb_making *m);

/* Streams, of any of the three versions. */
enum rdb_end rdb_read_stream(struct rdb_making *m, unsigned type);
