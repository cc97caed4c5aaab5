"""What a program does with Celery, beside a worker with two processes."""
import time

import redis
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError

from helpers import HOST, PORT, eq, raises, wait_for
from tasks import add, app, boom, flaky, mail, nap, progress, tsum

WORKER = 'w1@local'
broker = redis.Redis(HOST, PORT)
backend = redis.Redis(HOST, PORT, db=1)


def results():
    r = add.delay(2, 3)
    eq(r.get(timeout=8), 5)
    assert r.successful() and r.result == 5
    key = 'celery-task-meta-' + r.id
    assert 0 < backend.ttl(key) <= 300
    r.forget()
    eq(backend.exists(key), 0)
    assert 'kaboom' in str(raises(ValueError, boom.delay().get, timeout=8))
    eq(flaky.delay('flaky').get(timeout=10), 3)
    p = progress.delay()
    wait_for(lambda: p.state == 'PROGRESS' and p.info['pct'] == 50, 5, 'progress')
    eq(p.get(timeout=5), 'ok')
    eq(mail.delay('ann').get(timeout=8), 'sent ann')


def canvas():
    eq(chain(add.s(1, 2), add.s(10), add.s(100))().get(timeout=8), 113)
    eq(group(add.s(i, i) for i in range(10))().get(timeout=8), [2 * i for i in range(10)])
    eq(chord([add.s(i, 1) for i in range(6)])(tsum.s()).get(timeout=10), 21)
    # A chord of chains within a chain; the join of a chord counts in the result backend.
    parts = group(chain(add.s(i, 1), add.s(10)) for i in range(4))
    eq(chain(parts, tsum.s(), add.s(1000))().get(timeout=10), 1050)
    e = raises(Exception, chord([add.s(1, 1), boom.s()])(tsum.s()).get, timeout=10)
    assert 'kaboom' in str(e), repr(e)
    eq(backend.keys('*unacked*'), [])


def countdowns():
    began = time.time()
    r = add.apply_async((1, 1), countdown=1)
    eq(r.get(timeout=8), 2)
    assert time.time() - began >= 0.9
    raises(TaskRevokedError, add.apply_async((1, 1), expires=-1).get, timeout=5, match='expired')


def seen_by_worker(ask):
    """What the worker answers; nothing where it is too busy to answer in time."""
    return (ask() or {}).get(WORKER, {})


def revoking():
    inspect = app.control.inspect(timeout=1)
    waiting = add.apply_async((5, 5), countdown=6)
    wait_for(
        lambda: [s for s in seen_by_worker(inspect.scheduled) if s['request']['id'] == waiting.id],
        6,
        'scheduled',
    )
    app.control.revoke(waiting.id)
    wait_for(lambda: waiting.id in seen_by_worker(inspect.revoked), 5, 'revoked')
    raises(TaskRevokedError, waiting.get, timeout=12, match='revoked')
    totals = wait_for(lambda: seen_by_worker(inspect.stats), 8, 'stats')['total']
    assert totals['tasks.add'] >= 10, totals
    running = nap.delay(30)
    wait_for(lambda: running.state == 'STARTED', 5, 'started')
    app.control.revoke(running.id, terminate=True)
    raises(TaskRevokedError, running.get, timeout=6, match='terminated')


def queues():
    """A queue that nobody takes from keeps its tasks, by priority; then they are served."""
    stopped = app.control.cancel_consumer('mail', reply=True, timeout=1)
    assert 'ok' in stopped[0][WORKER], stopped
    urgent_last = [mail.apply_async((str(p),), priority=p) for p in (9, 0, 5)]
    lengths = [broker.llen('mail' + suffix) for suffix in ('', '\x06\x163', '\x06\x169')]
    eq(lengths, [1, 1, 1])
    app.control.add_consumer('mail', reply=True, timeout=1)
    eq([r.get(timeout=5) for r in urgent_last], ['sent 9', 'sent 0', 'sent 5'])
    eq(broker.hlen('unacked'), 0)
    app.control.purge()


wait_for(lambda: app.control.ping(timeout=0.5), 20, 'worker ping')
results()
canvas()
countdowns()
revoking()
queues()
app.control.shutdown()
