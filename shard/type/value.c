/* The types, by their ids: see value.h. */
#include "shard/type/value.h"

#include <assert.h>

const struct value_ops *value_ops_of(unsigned type)
{
    static const struct value_ops *const ops[] = {
        [TYPE_LIST] = &list_ops, [TYPE_SET] = &set_ops,       [TYPE_ZSET] = &zset_ops,
        [TYPE_HASH] = &hash_ops, [TYPE_STREAM] = &stream_ops,
    };
    assert(type < sizeof(ops) / sizeof(ops[0]) && ops[type]);
    return ops[type];
}

void value_free(struct value *v)
{
    uint64_t budget = UINT64_MAX;
    bool freed = value_ops_of(v->type)->free_some(v, &budget);
    assert(freed);
}
