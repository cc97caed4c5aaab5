"""Fixtures: `server`, shared by all tests of a run and emptied before each, and `fresh_server`,
which makes servers with options of the test's own.

The environment says what runs: LASCA_SERVER (the binary), LASCA_BACKEND (io_uring, epoll, auto),
LASCA_SHARDS, LASCA_STRESS_SECONDS (how long each stress test loads the server), and LASCA_LONG
(set: tests that wait for long run, too).
"""

import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402


TEST_SECONDS = int(os.environ.get("LASCA_TEST_SECONDS", "120"))


@pytest.fixture(autouse=True)
def time_limit():
    """A test that hangs fails, instead of holding up the rest."""

    def give_up(*_):
        raise TimeoutError(f"the test has not ended after {TEST_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def pytest_report_header(config):
    return f"server: {harness.BINARY}, {harness.BACKEND}, {harness.SHARDS} shards"


def _stop_clean(server):
    try:
        server.stop()
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def shared_server():
    server = harness.Server()
    yield server
    _stop_clean(server)


@pytest.fixture
def server(shared_server):
    """The shared server: running, with its default options, and empty."""
    if not shared_server.alive():
        shared_server.start()
    elif shared_server.args:
        shared_server.restart()
    with shared_server.raw() as r:
        assert r.call("FLUSHALL") == "OK"
    yield shared_server
    shared_server.close_clients()
    if shared_server.process is not None and shared_server.process.poll() is not None:
        status = shared_server.process.returncode
        shared_server.process = None
        pytest.fail(f"the server ended with status {status}:\n{shared_server.log()[-8000:]}")


@pytest.fixture
def client(server):
    """A redis-py client of the shared server."""
    return server.client()


@pytest.fixture
def raw(server):
    """A socket to the shared server."""
    with server.raw() as r:
        yield r


@pytest.fixture
def fresh_server():
    """Makes servers: fresh_server("--maxclients", 10). Each must end well, too."""
    made = []

    def make(*args):
        made.append(harness.Server(*args))
        return made[-1]

    yield make
    problems = []
    for server in made:
        try:
            _stop_clean(server)
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n".join(problems)
