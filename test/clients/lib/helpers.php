<?php
error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);
ini_set('display_errors', 'stderr');
define('HOST', getenv('REDIS_HOST') ?: '127.0.0.1');
define('PORT', (int) (getenv('REDIS_PORT') ?: 6379));
define('BASE', (int) (getenv('PORT_BASE') ?: 8600));
function where()
{
    $b = debug_backtrace();
    $x = end($b);
    foreach ($b as $f) {
        if (isset($f['file']) && !str_ends_with($f['file'], 'helpers.php')) {
            $x = $f;
            break;
        }
    }
    return basename($x['file'] ?? '?') . ':' . ($x['line'] ?? '?');
}
function eq($got, $want, $what = 'value')
{
    if ($got !== $want) {
        fwrite(
            STDERR,
            "$what: got " .
                var_export($got, true) .
                ' want ' .
                var_export($want, true) .
                ' at ' .
                where() .
                "\n",
        );
        exit(1);
    }
}
function ok($v, $what = 'assertion')
{
    if (!$v) {
        fwrite(STDERR, "$what failed at " . where() . "\n");
        exit(1);
    }
    return $v;
}
function raises($f, $re = null)
{
    try {
        $f();
    } catch (\Throwable $e) {
        if ($re) {
            ok(preg_match($re, $e->getMessage()), 'error text ' . $e->getMessage());
        }
        return $e;
    }
    ok(false, 'nothing thrown');
}
function wait_for($f, $secs = 8, $what = 'condition')
{
    $e = microtime(true) + $secs;
    while (microtime(true) < $e) {
        if ($v = $f()) {
            return $v;
        }
        usleep(50000);
    }
    ok(false, "timeout: $what");
}
set_exception_handler(function ($e) {
    fwrite(STDERR, 'uncaught ' . $e . "\n");
    exit(1);
});
