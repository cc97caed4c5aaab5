"""What keeps a server from starting, or will hinder it later, is said in a line that names the
cure. What is wrong with the configuration's text and with addresses is in test_limits.py, with TLS
in test_tls.py, with users in test_acl.py, with files of data in test_loading.py."""

import ctypes
import os
import resource
import struct
import subprocess

import pytest

from harness import BINARY, START_SECONDS, environment, free_port, run_to_end

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SYS_IO_URING_SETUP = 425  # on every architecture
EPERM = 1


def forbid_io_uring():
    """As Docker's seccomp profile does: load the call's number; equal: EPERM; else: allowed."""
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, SYS_IO_URING_SETUP), (0x06, 0, 0, 0x00050000 | EPERM),
             (0x06, 0, 0, 0x7FFF0000)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *s) for s in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(filters))
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) != 0:
        os._exit(99)


def run_without_rights(*args, limits=(), before=None):
    """As run_to_end, but root, too, is held to the permissions of files. Limits are pairs of a
    resource and its value; `before` is called in the process that becomes the server."""
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []

    def limit():
        for which, value in limits:
            resource.setrlimit(which, (value, value))
        if before:
            before()

    done = subprocess.run([*drop, BINARY, *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=START_SECONDS, env=environment(),
                          preexec_fn=limit, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def closed_directory(tmp_path):
    path = tmp_path / "closed"
    path.mkdir()
    path.chmod(0o555)
    yield path
    path.chmod(0o755)


def test_who_has_the_port_is_said(server):
    status, output = run_to_end("--port", server.port, "--bind", "127.0.0.1")
    assert status == 1
    assert f"port {server.port} is in use by another program" in output
    assert "choose another with --port " in output
    assert f"(it is {os.path.basename(BINARY)[:15]}, process {server.pid})" in output


def test_a_directory_that_cannot_be_written_is_told_of(closed_directory):
    status, log, errors = run_without_rights(
        "--port", free_port(), "--dir", closed_directory, "--appendonly", "yes",
        "--shards", 50, "--maxmemory", "900000gb", "--pidfile", "/no/such/file.pid")
    assert status == 1
    assert f"cannot write into dir {closed_directory} (permission denied)" in log
    assert "chown" in log
    assert "50 shards share " in log
    assert "WARNING maxmemory is " in log
    assert "Failed to write PID file: No such file or directory: /no/such/file.pid" in log
    assert "Can't open or create append-only dir appendonlydir: Permission denied: user " in log
    assert f"must be able to write into {closed_directory}" in log
    assert errors == ""


@pytest.mark.parametrize("args, words", [
    (("port", "7000"), ["cannot open 'port'", "--port VALUE"]),
    (("/no/such.conf",), ["cannot open '/no/such.conf'", "name a configuration"]),
    (("--dir", "/no/such"), ["--dir '/no/such'", "create it"]),
])
def test_a_path_that_is_not_there_has_a_cure(args, words):
    status, output = run_to_end(*args)
    assert status == 1
    for word in words:
        assert word in output.splitlines()[-1]


def test_a_configuration_that_may_not_be_read_names_the_user(tmp_path):
    path = tmp_path / "lasca.conf"
    path.write_text("port 7000\n")
    path.chmod(0)
    status, _, errors = run_without_rights(path)
    assert status == 1
    assert f"cannot open '{path}': Permission denied: user " in errors


def test_too_few_open_files_lower_maxclients_in_redis_words():
    status, log, _ = run_without_rights(
        "--port", 0, "--shards", 1, "--maxclients", 5000,
        limits=[(resource.RLIMIT_NOFILE, 200)])
    assert status == 1  # there is nowhere to listen
    assert "You requested maxclients of 5000 requiring at least " in log
    assert "Current maximum open files is 200. maxclients has been reduced to " in log
    assert "LimitNOFILE=" in log
    status, _, errors = run_without_rights("--port", free_port(), "--shards", 8,
                                           limits=[(resource.RLIMIT_NOFILE, 30)])
    assert status == 1
    assert "Your current 'ulimit -n' of 30 is not enough for the server to start" in errors


def test_data_that_cannot_be_loaded_are_told_of_on_the_terminal_too(tmp_path):
    (tmp_path / "dump.rdb").write_bytes(b"REDIS0099" + b"\xff" * 9)
    status, log, errors = run_without_rights("--port", free_port(), "--dir", tmp_path,
                                             "--logfile", tmp_path / "log")
    assert status == 1
    assert log == ""
    assert "Can't handle RDB format version 99: up to " in errors
    assert "lasca-check-rdb" in errors
    assert errors.strip() in (tmp_path / "log").read_text().replace(" # ", " # lasca-server: ")


def test_data_that_may_not_be_read_name_the_user(tmp_path):
    path = tmp_path / "dump.rdb"
    path.write_bytes(b"REDIS0010" + b"\xff" * 9)
    path.chmod(0)
    status, log, _ = run_without_rights("--port", free_port(), "--dir", tmp_path)
    assert status == 1
    assert "can't open dump.rdb for reading: Permission denied: give it to user " in log


def test_a_file_in_the_unix_sockets_place_is_left_alone(tmp_path):
    path = tmp_path / "data"
    path.write_text("mine")
    status, output = run_to_end("--port", 0, "--unixsocket", path)
    assert status == 1
    assert f"{path}: a file that is no socket is there: choose another path" in output
    assert path.read_text() == "mine"


def test_io_uring_that_is_forbidden_names_who_may_forbid_it():
    status, _, errors = run_without_rights("--port", free_port(), "--io-backend", "io_uring",
                                           before=forbid_io_uring)
    assert status == 1
    assert errors.startswith("lasca-server: io-backend io_uring is not available (io_uring_setup: "
                             "Operation not permitted; a seccomp profile")
    assert "kernel.io_uring_disabled" in errors
    status, log, _ = run_without_rights("--port", 0, "--io-backend", "auto",
                                        before=forbid_io_uring)
    assert status == 1  # there is nowhere to listen
    assert "forbids it): using epoll" in log
