import os

from helpers import *
import redis

W = os.environ['WORK']
P = int(os.environ['AP'])
r = redis.Redis(
    'localhost',
    P,
    ssl=True,
    ssl_ca_certs=W + '/ca.crt',
    ssl_certfile=W + '/client.crt',
    ssl_keyfile=W + '/client.key',
)
assert r.ping()
r.set('py', 'x' * 500000)
eq(len(r.get('py')), 500000)
p = r.pipeline()
[p.incr('n') for _ in range(300)]
eq(p.execute()[-1], 300)
raises(redis.ConnectionError, redis.Redis('localhost', P, ssl=True).ping)
assert redis.from_url('rediss://u:p@localhost:%d?ssl_ca_certs=%s/ca.crt' % (P, W)).ping()
