"""Helpers for the python scenarios."""
import os
import sys
import time

HOST = os.environ.get('REDIS_HOST', '127.0.0.1')
PORT = int(os.environ.get('REDIS_PORT', '6379'))
URL = 'redis://%s:%d' % (HOST, PORT)
BASE = int(os.environ.get('PORT_BASE', '8600'))


def wait_for(fn, secs=8, what='condition'):
    end = time.time() + secs
    last = None
    while time.time() < end:
        last = fn()
        if last:
            return last
        time.sleep(0.05)
    raise AssertionError('timeout waiting for %s (last=%r)' % (what, last))


def eq(got, want, what=''):
    assert got == want, '%s: got %r want %r' % (what or 'value', got, want)


def raises(exc, fn, *a, match=None, **k):
    try:
        fn(*a, **k)
    except exc as e:
        if match:
            assert match in str(e), 'wrong error %r, wanted %r' % (str(e), match)
        return e
    raise AssertionError('%r not raised' % (exc,))
