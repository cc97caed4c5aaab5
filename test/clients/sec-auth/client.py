import os

from helpers import *
import redis
import redis.asyncio
import asyncio

P = int(os.environ['AP'])
raises(
    (redis.ResponseError, redis.AuthenticationError),
    redis.Redis('127.0.0.1', P, password='no').ping,
    match='WRONGPASS',
)
raises(redis.AuthenticationError, redis.Redis('127.0.0.1', P).ping)
assert redis.Redis('127.0.0.1', P, password='s3cret').ping()
r = redis.from_url('redis://app:apppw@127.0.0.1:%d/0' % P)
assert r.set('app:py', 1)
raises(redis.exceptions.NoPermissionError, r.set, 'zz', 1)
raises(redis.exceptions.NoPermissionError, r.flushall)
eq(r.acl_whoami(), 'app')
u = redis.Redis(unix_socket_path=os.environ['SOCK'], password='s3cret')
eq(u.get('app:py'), b'1')
ps = r.pubsub()
ps.subscribe('app:ch')
wait_for(lambda: ps.get_message(timeout=0.2))
u.publish('app:ch', 'x')
eq(wait_for(lambda: ps.get_message(timeout=0.5))['data'], b'x')
p2 = r.pubsub()
p2.subscribe('nope')
raises(redis.exceptions.ResponseError, p2.get_message, timeout=1)


async def a():
    c = redis.asyncio.from_url('redis://:s3cret@127.0.0.1:%d' % P)
    assert await c.ping()
    await c.close()


asyncio.run(a())
raises(
    redis.exceptions.NoPermissionError,
    r.transaction,
    lambda p: (p.multi(), p.set('app:a', 1), p.set('bad', 1)),
)
