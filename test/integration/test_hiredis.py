"""A C client, compiled against hiredis."""

import os
import subprocess

import pytest

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hiredis_smoke.c")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    binary = tmp_path_factory.mktemp("hiredis") / "hiredis_smoke"
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", "-o", binary, SOURCE, "-lhiredis"],
                   check=True)
    return binary


def test_hiredis_gets_along(server, smoke):
    done = subprocess.run([smoke, str(server.port)], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0, done.stderr
