const { assert, main, eq } = require('../lib/helpers.js');
const P = +process.env.AP;
main(async () => {
    const R5 = require('ioredis'),
        m6 = require('ioredis6'),
        R6 = m6.Redis || m6;
    for (const R of [R5, R6]) {
        let r = new R(P, '127.0.0.1', { password: 's3cret' });
        eq(await r.ping(), 'PONG');
        r.disconnect();
        r = new R(`redis://app:apppw@127.0.0.1:${P}/0`);
        eq(await r.set('app:js', 1), 'OK');
        await assert.rejects(r.set('zz', 1), /NOPERM/);
        r.disconnect();
        const b = new R(P, '127.0.0.1', {
            password: 'bad',
            retryStrategy: () => null,
            maxRetriesPerRequest: 0,
        });
        const errs = [];
        b.on('error', (e) => errs.push(e.message));
        await assert.rejects(b.get('x'));
        assert(
            errs.some((e) => /WRONGPASS/.test(e)),
            errs.join()
        );
        b.disconnect();
        const s = new R(process.env.SOCK, { password: 's3cret' });
        eq(await s.get('app:js'), '1');
        s.disconnect();
    }
    for (const m of ['redis', 'redis4']) {
        const { createClient } = require(m);
        const c = createClient({ url: `redis://app:apppw@127.0.0.1:${P}` });
        await c.connect();
        eq(await c.set('app:n', '1'), 'OK');
        await assert.rejects(c.get('other'), /NOPERM/);
        await (c.close ? c.close() : c.quit()).catch(() => c.disconnect());
        const b = createClient({
            url: `redis://:wrong@127.0.0.1:${P}`,
            socket: { reconnectStrategy: false },
        });
        b.on('error', () => {});
        await assert.rejects(b.connect(), /WRONGPASS/);
        const u = createClient({
            username: 'default',
            password: 's3cret',
            socket: { path: process.env.SOCK },
        });
        await u.connect();
        eq(await u.get('app:n'), '1');
        await (u.close ? u.close() : u.quit());
    }
});
