"""The protocol as a client speaks it: the integration tests' own code, used here as it is."""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "test", "integration"))

from harness import Closed, Raw, ReplyError, encode  # noqa: E402

__all__ = ["ROOT", "Closed", "Raw", "ReplyError", "encode"]
