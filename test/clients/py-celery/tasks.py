import os
import time

import redis
from celery import Celery

U = 'redis://%s:%s' % (os.environ['REDIS_HOST'], os.environ['REDIS_PORT'])
app = Celery('shop', broker=U + '/0', backend=U + '/1')
app.conf.update(
    broker_transport_options={
        'visibility_timeout': 60,
        'queue_order_strategy': 'priority',
        'priority_steps': [0, 3, 6, 9],
    },
    result_expires=300,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_track_started=True,
    worker_send_task_events=True,
    result_extended=True,
    broker_connection_retry_on_startup=True,
    task_routes={'tasks.mail': {'queue': 'mail'}},
)


@app.task
def add(a, b):
    return a + b


@app.task
def tsum(xs):
    return sum(xs)


@app.task(bind=True, max_retries=3)
def flaky(self, key):
    n = redis.Redis(os.environ['REDIS_HOST'], int(os.environ['REDIS_PORT']), db=2).incr(key)
    if n < 3:
        raise self.retry(countdown=0.2)
    return n


@app.task
def boom():
    raise ValueError('kaboom')


@app.task
def nap(s):
    time.sleep(s)
    return 'slept'


@app.task
def mail(to):
    return 'sent ' + to


@app.task(bind=True)
def progress(self):
    self.update_state(state='PROGRESS', meta={'pct': 50})
    time.sleep(0.8)
    return 'ok'
