"""fill PORT: data of every type, in small and large encodings. digest PORT: a digest of it."""
import sys
import hashlib
import random
import redis


def fill(port):
    rnd = random.Random(7)
    r = redis.Redis('127.0.0.1', port)
    p = r.pipeline(transaction=False)
    for i in range(300):
        p.set('s:%d' % i, 'v%d' % i)
    p.set('int', 12345)
    p.set('neg', -7)
    p.set('bin', bytes(range(256)))
    p.set('big', b'ab' * 100000)
    p.set('empty', '')
    p.set(b'k\x00\xff', 'x')
    p.set('ttl', 'x', ex=3000)
    p.setbit('bits', 70001, 1)
    p.pfadd('hll', *range(500))
    p.pfadd('hll2', 'a')
    p.rpush('l:small', 'a', 'b', 1, -5)
    p.rpush('l:big', *[rnd.getrandbits(40) for _ in range(2000)])
    p.rpush('l:wide', 'x' * 9000, 'y')
    p.sadd('set:int', *range(-20, 20))
    p.sadd('set:small', 'a', 'b')
    p.sadd('set:big', *['m%d' % i for i in range(1500)])
    p.sadd('set:bigint', *range(1000, 2500))
    p.hset('h:small', mapping={'a': 1, 'b': 'ü'})
    p.hset('h:big', mapping={'f%d' % i: 'v' * (i % 90) for i in range(700)})
    p.zadd('z:small', {'a': 1.5, 'b': -3, 'c': float('inf')})
    p.zadd('z:big', {'m%d' % i: rnd.random() * 1e6 for i in range(900)})
    p.geoadd('geo', (13.361389, 38.115556, 'P'))
    for i in range(250):
        p.xadd('st', {'n': i, 'f': 'x'}, id='%d-1' % (i + 1))
    p.xgroup_create('st', 'g', id='100-1')
    p.xgroup_create('st', 'g2', id='0')
    p.xreadgroup('g', 'c1', {'st': '>'}, count=10)
    p.xdel('st', '5-1')
    p.expire('h:small', 4000)
    p.function_load(
        "#!lua name=l\n"
        "redis.register_function{function_name='f',callback=function() return 42 end,"
        "flags={'no-writes'}}",
        replace=True,
    )
    p.execute()
    r3 = redis.Redis('127.0.0.1', port, db=3)
    r3.set('other', 'db3')


def digest(port):
    h = hashlib.sha1()
    n = 0
    for db in (0, 3):
        r = redis.Redis('127.0.0.1', port, db=db)
        for k in sorted(r.scan_iter(count=500)):
            t = r.type(k).decode()
            v = {
                'string': lambda: r.get(k),
                'list': lambda: r.lrange(k, 0, -1),
                'set': lambda: sorted(r.smembers(k)),
                'hash': lambda: sorted(r.hgetall(k).items()),
                'zset': lambda: r.zrange(k, 0, -1, withscores=True),
                'stream': lambda: (
                    r.xrange(k),
                    r.xinfo_stream(k)['last-generated-id'],
                    [
                        (g['name'], g['pending'], g['last-delivered-id'])
                        for g in sorted(r.xinfo_groups(k), key=lambda g: g['name'])
                    ],
                ),
            }[t]()
            h.update(repr((db, k, t, v, r.ttl(k) > 0)).encode())
            n += 1
    h.update(repr(redis.Redis('127.0.0.1', port).fcall('f', 0)).encode())
    return '%d %s' % (n, h.hexdigest())


if __name__ == '__main__':
    if sys.argv[1] == 'fill':
        fill(int(sys.argv[2]))
    else:
        print(digest(int(sys.argv[2])))
