/* The inside of large sorted sets: what zset.c shares with those who serialize them. See zset.c. */
#pragma once

#include "shard/type/btree.h"
#include "shard/type/table.h"

struct view;

/* What ENC_TREE points to. */
struct zset {
    struct table members; /* of struct btree_item; its context is the keyspace */
    struct btree tree;
    size_t item_bytes;    /* held by items */
    struct view *view;    /* open on it, or NULL */
};
