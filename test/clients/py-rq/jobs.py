import os
import time
import redis


def conn():
    return redis.Redis(os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT']))


def mul(a, b):
    return a * b


def boom():
    raise RuntimeError('bad job')


def log(x):
    conn().rpush('log', x)
    return x


def flaky():
    if conn().incr('flaky') < 3:
        raise RuntimeError('not yet')
    return 'finally'


def nap(s):
    time.sleep(s)


def on_ok(job, connection, result, *a):
    connection.set('cb', str(result))


def on_bad(job, connection, *a):
    connection.set('cbf', job.id)
