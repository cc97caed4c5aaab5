"""Client processes for the stress tests: real load, since each is an interpreter of its own."""

import multiprocessing
import os
import signal
import time
import traceback

from harness import Closed, Raw, encode

SECONDS = float(os.environ.get("LASCA_STRESS_SECONDS", "5"))
FORK = multiprocessing.get_context("fork")


class Line(Raw):
    """A connection that sends pipelines."""

    def run(self, *requests):
        self.send(b"".join(encode(*request) for request in requests))
        return [self.read_reply() for _ in requests]


LATE_SECONDS = 20


class Clock:
    """When to end: the same moment for all workers of a test; but where a worker has little of a
    busy machine, not before it has gone round so often."""

    def __init__(self, seconds, rounds):
        self.end = time.monotonic() + seconds
        self.rounds = rounds

    def running(self):
        self.rounds -= 1
        late = LATE_SECONDS if self.rounds >= 0 else 0
        return time.monotonic() < self.end + late


def _work(pipe, port, work, args):
    signal.alarm(0)
    try:
        with Line(port) as line:
            pipe.send((True, work(line, *args)))
    except Closed:
        pipe.send((False, "the server closed the connection"))
    except BaseException:
        pipe.send((False, traceback.format_exc()))


def run_all(port, works, seconds=SECONDS, rounds=0):
    """Runs each (function, args...) in a process, as function(line, clock, args...), and returns
    their results in order. A worker that fails fails the test."""
    clock = Clock(seconds, rounds)
    running = []
    for work, *args in works:
        mine, theirs = FORK.Pipe()
        process = FORK.Process(target=_work, args=(theirs, port, work, (clock, *args)),
                               daemon=True)
        process.start()
        theirs.close()
        running.append((process, mine))
    results, problems = [], []
    for process, pipe in running:
        try:
            if not pipe.poll(seconds + 45):
                raise EOFError
            well, result = pipe.recv()
        except EOFError:
            well, result = False, "a worker hangs or has died"
        (results if well else problems).append(result)
        if not well:
            process.kill()
        process.join()
    assert not problems, "\n".join(problems)
    return results
