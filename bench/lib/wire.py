"""The protocol as a client speaks it: the integration tests' own code, used here as it is."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "test", "integration"))

from harness import Closed, Raw, ReplyError, encode  # noqa: E402

__all__ = ["ROOT", "Closed", "Raw", "ReplyError", "encode", "replies_to"]

MARK = encode("ECHO", "the-end-of-all")
MARK_REPLY = b"$14\r\nthe-end-of-all\r\n"


def replies_to(raw, requests):
    """All replies to requests that the socket's buffers can hold, as the bytes that came."""
    raw.send(requests + MARK)
    got = bytearray()
    while not got.endswith(MARK_REPLY):
        part = raw.socket.recv(1 << 20)
        if not part:
            raise Closed
        got += part
    return bytes(got[:-len(MARK_REPLY)])
