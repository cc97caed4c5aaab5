// Helpers for the node scenarios.
const assert = require('assert');
const HOST = process.env.REDIS_HOST || '127.0.0.1';
const PORT = parseInt(process.env.REDIS_PORT || '6379', 10);
const BASE = parseInt(process.env.PORT_BASE || '8600', 10);
const URL_ = `redis://${HOST}:${PORT}`;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
async function waitFor(fn, ms = 8000, what = 'condition') {
    const end = Date.now() + ms;
    let last;
    while (Date.now() < end) {
        last = await fn();
        if (last) return last;
        await sleep(30);
    }
    throw new Error(`timeout waiting for ${what}, last=${JSON.stringify(last)}`);
}
function main(fn, limitMs = 40000) {
    const t = setTimeout(() => {
        console.error('scenario time limit');
        process.exit(3);
    }, limitMs);
    process.on('unhandledRejection', (e) => {
        console.error('unhandledRejection', e);
        process.exit(4);
    });
    fn().then(
        () => {
            clearTimeout(t);
            console.log('done');
            process.exit(0);
        },
        (e) => {
            console.error((e && e.stack) || e);
            process.exit(1);
        }
    );
}
module.exports = {
    assert,
    HOST,
    PORT,
    BASE,
    URL: URL_,
    sleep,
    waitFor,
    main,
    eq: assert.deepStrictEqual,
};
