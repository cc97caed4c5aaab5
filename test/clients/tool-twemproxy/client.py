"""Through nutcracker, which spreads keys over two servers."""
import sys

import redis

from helpers import eq

FRONT, FIRST = map(int, sys.argv[1:])
r = redis.Redis('127.0.0.1', FRONT, decode_responses=True)

for i in range(200):
    r.set('k%d' % i, i, ex=100)
eq([r.get('k%d' % i) for i in range(200)], [str(i) for i in range(200)])
sizes = [redis.Redis('127.0.0.1', FIRST + i).dbsize() for i in (0, 1)]
eq(sum(sizes), 200)
assert min(sizes) > 40, sizes
eq(r.mget(['k%d' % i for i in range(50)]), [str(i) for i in range(50)])
eq(r.delete(*['k%d' % i for i in range(20)]), 20)

p = r.pipeline(transaction=False)
for i in range(100):
    p.incr('n%d' % (i % 7))
eq(len(p.execute()), 100)

r.hset('h', mapping={'a': 1})
eq(r.hgetall('h'), {'a': '1'})
r.zadd('z', {'a': 1, 'b': 2})
eq(r.zrange('z', 0, -1, withscores=True), [('a', 1.0), ('b', 2.0)])
r.rpush('l', *range(10))
eq(r.lrange('l', 0, -1), [str(i) for i in range(10)])
r.sadd('s', 'x')
eq(r.smembers('s'), {'x'})
eq(r.type('z'), 'zset')
eq(r.eval("return redis.call('incrby',KEYS[1],ARGV[1])", 1, 'ev', 4), 4)
big = 'x' * 300000
r.set('big', big)
eq(r.get('big'), big)
eq(r.setnx('k100', 'z'), False)
eq(r.getset('k100', 'y'), '100')
eq(r.pfadd('hl', 'a', 'b'), 1)
