const fs = require('fs');
const { assert, main, eq, waitFor } = require('../lib/helpers.js');
const W = process.env.WORK,
    P = +process.env.AP,
    ca = fs.readFileSync(W + '/ca.crt');
main(async () => {
    const R = require('ioredis'),
        { createClient } = require('redis');
    const r = new R(P, 'localhost', { tls: { ca } });
    eq(await r.set('io', 'v'), 'OK');
    const s = new R(`rediss://u:p@localhost:${P}`, { tls: { ca } }),
        got = [];
    s.on('message', (c, m) => got.push(m));
    await s.subscribe('t');
    await r.publish('t', 'hi');
    await waitFor(() => got.length);
    r.disconnect();
    s.disconnect();
    const c = createClient({
        url: `rediss://localhost:${P}`,
        socket: {
            ca,
            cert: fs.readFileSync(W + '/client.crt'),
            key: fs.readFileSync(W + '/client.key'),
        },
    });
    await c.connect();
    eq(await c.get('io'), 'v');
    await c.close();
    const b = createClient({
        url: `rediss://localhost:${P}`,
        socket: { reconnectStrategy: false },
    });
    b.on('error', () => {});
    await assert.rejects(b.connect());
});
