import os
import sys
import time
import subprocess
import datetime
from helpers import *
import redis
import jobs
from rq import Queue, Worker, Retry
from rq.job import Job
from rq.registry import (
    FailedJobRegistry,
    FinishedJobRegistry,
    DeferredJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)

c = redis.Redis(HOST, PORT)
q = Queue('default', connection=c)
hi = Queue('high', connection=c)


def rq(*a):
    return ['/usr/bin/python3', '-m', 'rq.cli', a[0], '--url', URL, *a[1:]]


def burst(*a):
    p = subprocess.run(
        rq('worker', '--burst', '--quiet', *a, 'high', 'default'),
        timeout=20,
        capture_output=True,
        text=True,
    )
    assert p.returncode == 0, p.stderr[-800:]


j = q.enqueue(jobs.mul, 6, 7, on_success=jobs.on_ok)
jf = q.enqueue(jobs.boom, on_failure=jobs.on_bad)
a = q.enqueue(jobs.log, 'first', depends_on=j)
b = q.enqueue(jobs.log, 'second', depends_on=a)
eq(len(DeferredJobRegistry(queue=q)), 2)
hi.enqueue(jobs.log, 'urgent')
q.enqueue(jobs.log, 'front', at_front=True)
rt = q.enqueue(jobs.flaky, retry=Retry(max=5))
canc = q.enqueue(jobs.log, 'never')
canc.cancel()
eq(j.get_status(), 'queued')
eq(q.count, 4)
eq(q.get_job_ids()[0] in [x.id for x in q.jobs], True)
many = q.enqueue_many([Queue.prepare_data(jobs.mul, (i, i), job_id='m%d' % i) for i in range(5)])
eq(len(many), 5)
burst()
eq(j.result, 42)
eq(j.get_status(refresh=True), 'finished')
eq(c.get('cb'), b'42')
eq(jf.get_status(refresh=True), 'failed')
assert 'bad job' in jf.exc_info
eq(c.get('cbf').decode(), jf.id)
log = [x.decode() for x in c.lrange('log', 0, -1)]
eq(log, ['urgent', 'front', 'first', 'second'])
eq(rt.get_status(refresh=True), 'finished')
eq(rt.result, 'finally')
eq(Job.fetch('m4', connection=c).result, 16)
eq([x.result for x in Job.fetch_many(['m0', 'm3'], connection=c)], [0, 9])
eq(canc.get_status(refresh=True), 'canceled')
fr = FailedJobRegistry(queue=q)
eq(fr.get_job_ids(), [jf.id])
fr.requeue(jf.id)
eq(q.count, 1)
burst()
eq(len(fr), 1)
jf.delete()
eq(len(fr), 0)
assert len(FinishedJobRegistry(queue=q)) >= 8
# scheduler
s = q.enqueue_in(datetime.timedelta(seconds=1), jobs.log, 'timed')
eq(len(ScheduledJobRegistry(queue=q)), 1)
w = subprocess.Popen(
    rq('worker', '--with-scheduler', '--quiet', '--name', 'wk', 'default')
)
try:
    wait_for(lambda: s.get_status(refresh=True) == 'finished', 10, 'scheduled job')
    wk = wait_for(lambda: [x for x in Worker.all(connection=c) if x.name == 'wk'], 5)[0]
    assert wk.get_state() in ('idle', 'busy', '?')
    eq(wk.queue_names(), ['default'])
    n = q.enqueue(jobs.nap, 20)
    wait_for(lambda: n.get_status(refresh=True) == 'started', 5)
    from rq.command import send_stop_job_command, send_shutdown_command

    send_stop_job_command(c, n.id)
    wait_for(lambda: n.get_status(refresh=True) in ('stopped', 'failed'), 6, 'stop')
    eq(n.get_status(), 'stopped')
    send_shutdown_command(c, 'wk')
    w.wait(8)
finally:
    w.poll() is None and w.kill()
eq(Worker.count(connection=c), 0)
q.enqueue(jobs.mul, 1, 1)
eq(q.empty() >= 0, True)
q.delete()
o = subprocess.run(
    rq('info', '--raw'),
    capture_output=True,
    text=True,
    timeout=10,
)
assert o.returncode == 0, o.stderr
assert '0 workers' in o.stdout or 'high' in o.stdout, o.stdout
print('done')
