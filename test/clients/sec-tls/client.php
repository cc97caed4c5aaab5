<?php require __DIR__ . '/../lib/helpers.php';
$r = new Redis();
ok(
    $r->connect('tls://localhost', (int) getenv('AP'), 2, null, 0, 0, [
        'stream' => ['cafile' => getenv('WORK') . '/ca.crt'],
    ]),
);
eq($r->get('io'), 'v');
eq($r->set('php', str_repeat('z', 200000)), true);
eq(strlen($r->get('php')), 200000);
