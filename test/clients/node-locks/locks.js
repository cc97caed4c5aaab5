const { assert, HOST, PORT, sleep, waitFor, main, eq } = require('../lib/helpers.js');
const Redis = require('ioredis');
const P = +process.argv[2];
main(async () => {
    const R5 = require('redlock').default,
        R4 = require('redlock4'),
        cl = [0, 1, 2].map(
            (i) =>
                new Redis(P + i, '127.0.0.1', {
                    maxRetriesPerRequest: 0,
                    retryStrategy: (n) => Math.min(n * 50, 200),
                })
        );
    cl.forEach((c) => c.on('error', () => {}));
    const a = new R5(cl, { retryCount: 0 }),
        b = new R5(cl, { retryCount: 60, retryDelay: 50, retryJitter: 20 });
    a.on('error', () => {});
    b.on('error', () => {});
    // A lock is held, and let go, as soon as two of three say so: the third may be a moment behind.
    const onAll = (command, test) =>
        waitFor(async () => (await Promise.all(cl.map(command))).every(test), 2000);
    let l = await a.acquire(['res:1', 'res:2'], 9000);
    await onAll((c) => c.pttl('res:1'), (ms) => ms > 1000);
    await assert.rejects(a.acquire(['res:2'], 500));
    l = await l.extend(20000);
    await onAll((c) => c.pttl('res:1'), (ms) => ms > 9000);
    await l.release();
    await onAll((c) => c.exists('res:1', 'res:2'), (count) => count === 0);
    let inside = 0,
        max = 0,
        total = 0;
    await Promise.all(
        Array.from({ length: 5 }, () =>
            b.using(['crit'], 9000, { automaticExtensionThreshold: 500 }, async () => {
                max = Math.max(max, ++inside);
                await sleep(30);
                total++;
                inside--;
            })
        )
    );
    eq([max, total], [1, 5]);
    l = await a.acquire(['short'], 200);
    await sleep(260);
    const l2 = await a.acquire(['short'], 9000);
    await assert.rejects(l.extend(500));
    await l2.release();
    await b.using(['auto'], 1600, { automaticExtensionThreshold: 1200 }, async (signal) => {
        await sleep(2000);
        assert(!signal.aborted, 'lost the auto-extended lock');
    });
    // redlock 4 API
    const r4 = new R4(cl, { retryCount: 0 });
    r4.on('clientError', () => {});
    const x = await r4.lock('old', 9000);
    await assert.rejects(r4.lock('old', 100));
    await x.extend(9000);
    await x.unlock();
    await (await r4.lock('old', 9000)).unlock();
    // redis-semaphore
    const { Mutex, Semaphore, MultiSemaphore, RedlockMutex } = require('redis-semaphore'),
        m = new Redis(PORT, HOST);
    const m1 = new Mutex(m, 'mx', { lockTimeout: 1500, refreshInterval: 300 }),
        m2 = new Mutex(m, 'mx', { acquireTimeout: 150 });
    await m1.acquire();
    await assert.rejects(m2.acquire());
    await sleep(2000);
    assert(m1.isAcquired);
    await m1.release();
    const m3 = new Mutex(m, 'mx');
    await m3.acquire();
    await m3.release();
    let act = 0,
        top = 0;
    await Promise.all(
        Array.from({ length: 6 }, async () => {
            const s = new Semaphore(m, 'sem', 2, { retryInterval: 10 });
            await s.acquire();
            top = Math.max(top, ++act);
            await sleep(30);
            act--;
            await s.release();
        })
    );
    eq(top, 2);
    const ms = new MultiSemaphore(m, 'ms', 3, 2),
        ms2 = new MultiSemaphore(m, 'ms', 3, 2, { acquireTimeout: 100 });
    await ms.acquire();
    await assert.rejects(ms2.acquire());
    await ms.release();
    const rm = new RedlockMutex(cl, 'rl', { lockTimeout: 9000 });
    await rm.acquire();
    await assert.rejects(new RedlockMutex(cl, 'rl', { acquireTimeout: 100 }).acquire());
    await rm.release();
    // one of three servers down: the quorum still locks; two down: no lock
    console.log('KILL1');
    await waitFor(() => cl[2].status !== 'ready', 5000, 'server 3 down');
    l = await b.acquire(['q'], 9000);
    await l.release();
    console.log('KILL2');
    await waitFor(() => cl[1].status !== 'ready', 5000, 'server 2 down');
    await assert.rejects(a.acquire(['q2'], 500));
});
