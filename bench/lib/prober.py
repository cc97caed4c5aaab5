"""A client that asks for a key a thousand times a second, from a process of its own: what others
notice of a load or an attack."""

import multiprocessing
import time

from wire import Raw, encode

PAUSE_SECONDS = 0.001
REQUEST = encode("GET", "probe")


def _probe(pipe, port, password):
    raw = Raw(port)
    if password:
        raw.call("AUTH", password)
    raw.call("SET", "probe", 1)
    times = []
    while True:
        begin = time.perf_counter()
        raw.send(REQUEST)
        raw.read_reply()
        times.append(time.perf_counter() - begin)
        time.sleep(PAUSE_SECONDS)
        if pipe.poll():
            pipe.recv()
            pipe.send(sorted(times))
            times = []


class Prober:
    def __init__(self, port, password=None):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_probe, args=(theirs, port, password),
                                               daemon=True)
        self.process.start()

    def latency_us(self, *parts):
        """The percentiles (as parts of one) of the requests since it was last asked."""
        self.pipe.send(None)
        times = self.pipe.recv()
        return [times[min(int(len(times) * part), len(times) - 1)] * 1e6 for part in parts]

    def stop(self):
        self.process.kill()
        self.process.join()
