const { assert, waitFor, main, eq } = require('../lib/helpers.js');
const B = process.argv[2];
main(async () => {
    let r = await fetch(B + '/');
    let html = await r.text();
    eq(r.status, 200);
    let tok = (html.match(
        /(?:signinToken|bearer|redisCommanderBearerToken)[^'"]*['"]([\w.-]{20,})['"]/i
    ) || [])[1];
    const h = {};
    if (tok) h.authorization = 'Bearer ' + tok;
    if (r.headers.get('set-cookie'))
        h.cookie = r.headers
            .getSetCookie()
            .map((x) => x.split(';')[0])
            .join('; ');
    const j = async (p, o = {}) => {
        const x = await fetch(B + p, { ...o, headers: { ...h, ...(o.headers || {}) } });
        const t = await x.text();
        if (x.status >= 400) throw new Error(p + ' -> ' + x.status + ' ' + t.slice(0, 200));
        try {
            return JSON.parse(t);
        } catch {
            return t;
        }
    };
    if (!tok) {
        const s = await j('/signin', {
            method: 'POST',
            headers: { 'content-type': 'application/x-www-form-urlencoded' },
            body: 'username=&password=',
        });
        if (s && s.bearerToken) h.authorization = 'Bearer ' + s.bearerToken;
    }
    const con = await waitFor(
        async () => {
            const c = await j('/apiv1/server/info').catch((e) => ({ e: e.message }));
            console.error(JSON.stringify(c).slice(0, 200));
            return c.data ? c.data : c.length ? c : null;
        },
        8000,
        'server info'
    );
    assert(/redis.version/i.test(JSON.stringify(con)));
    const cs = await j('/connections');
    const id =
        cs.connections[0].connectionId || `R:${process.env.REDIS_HOST}:${process.env.REDIS_PORT}:0`;
    const e = encodeURIComponent;
    const ks = await j(`/apiv1/keys/${e(id)}/shop*?limit=100`);
    const names = JSON.stringify(ks);
    for (const k of ['title', 'u', 'list', 'set', 'z', 'st'])
        assert(names.includes(k), 'key ' + k + ' in ' + names.slice(0, 300));
    const t = await j(`/apiv1/keystree/${e(id)}/?limit=100`).catch(() => null);
    for (const [k, type, must] of [
        ['shop:title', 'string', 'hé llo'],
        ['shop:u:1', 'hash', 'ann'],
        ['shop:list', 'list', 'c'],
        ['shop:set', 'set', 'x'],
        ['shop:z', 'zset', 'two'],
        ['shop:st', 'stream', 'f'],
    ]) {
        const d = await j(`/apiv1/key/${e(id)}/${e(k)}`);
        eq(d.type, type);
        assert(JSON.stringify(d).includes(must), k + ' ' + JSON.stringify(d));
    }
    const ttl = await j(`/apiv1/key/${e(id)}/shop%3Attl`);
    assert(ttl.ttl > 50, JSON.stringify(ttl));
    const cmd = await j(`/apiv1/exec/${e(id)}`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: 'cmd=' + e('INCRBY gui 5'),
    });
    assert(JSON.stringify(cmd).includes('5'), JSON.stringify(cmd));
});
