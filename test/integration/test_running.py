"""How the process stands in its system: background, pid file, title, the system's log, service
managers, what signals ask for, and the report of a crash."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness

TGKILL = {"x86_64": 234, "aarch64": 131}[os.uname().machine]
SANITIZED = b"__asan_init" in open(harness.BINARY, "rb").read() or \
    b"__tsan_init" in open(harness.BINARY, "rb").read()
HEAD = r"^\d+:M \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\.\d{3} "


@pytest.fixture
def start():
    servers = []

    def make(*args):
        servers.append(harness.Server(*args))
        return servers[-1]
    yield make
    for server in servers:
        server.destroy()


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.01)


def threads_of(pid):
    return sorted(map(int, os.listdir(f"/proc/{pid}/task")))


def title_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().rstrip(b"\0").decode()


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except FileNotFoundError:
        return ""


# --- Background ---

def run_daemon(directory, *args, port=None):
    port = port or harness.free_port()
    status, output = harness.run_to_end(*harness.default_args(), "--port", port, "--dir", directory,
                                        "--daemonize", "yes", "--logfile", "log", *args)
    return port, status, output


def test_a_daemon_has_a_pid_file_and_removes_it(tmp_path):
    pid_file = tmp_path / "pid"
    port, status, output = run_daemon(tmp_path, "--pidfile", pid_file)
    assert (status, output) == (0, "")
    wait_for(lambda: "Ready to accept connections" in read(tmp_path / "log"))
    pid = int(pid_file.read_text())
    assert os.getsid(pid) == pid, "it has a session of its own"
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    with harness.Raw(port) as r:
        assert r.call("PING") == "PONG"
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: "bye bye" in read(tmp_path / "log"))
    assert not pid_file.exists()
    assert "Removing the pid file." in read(tmp_path / "log")


def test_what_keeps_a_daemon_from_starting_is_said_on_the_terminal(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _, status, output = run_daemon(tmp_path, port=taken.getsockname()[1])
    assert status == 1
    assert "in use" in output


def test_the_log_begins_with_what_tools_look_for(start):
    server = start("--always-show-logo", "yes")
    log = server.log()
    for line in (r"\* oO0OoO0OoO0Oo Lasca is starting oO0OoO0OoO0Oo$",
                 rf"\* Lasca version=[\d.]+, bits=64, pid={server.pid}, just started$",
                 r"\* Server initialized$",
                 r"\* Ready to accept connections tcp$"):
        assert re.search(HEAD + f"(?:{line})", log, re.M), line
    assert re.search(rf" PID: {server.pid}\n.*Server initialized", log, re.S)


# --- Title ---

def test_the_title_follows_the_template(start):
    server = start("--proc-title-template", "lasca on {port} {server-mode}")
    assert title_of(server.pid) == f"lasca on {server.port}"
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "proc-title-template", "{listen-addr} x") == "OK"
        assert title_of(server.pid) == f"127.0.0.1:{server.port} x"
        for bad in ("{what}", "{title", ""):
            assert r.call("CONFIG", "SET", "proc-title-template", bad) == (
                "ERR CONFIG SET failed (possibly related to argument 'proc-title-template') - "
                "template format is invalid or contains unknown variables")
        assert r.call("CONFIG", "GET", "proc-title-template")[1] == b"{listen-addr} x"
    server.stop()


def test_the_title_may_be_left_alone(start):
    server = start("--set-proc-title", "no")
    assert "--set-proc-title" in title_of(server.pid)


# --- Memory ---

def test_the_oom_score_is_set_and_given_back(start):
    server = start()

    def score():
        return int(read(f"/proc/{server.pid}/oom_score_adj"))
    before = score()
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "oom-score-adj-values", "11 12 13",
                      "oom-score-adj", "yes") == "OK"
        assert score() == min(before + 11, 1000)
        assert r.call("CONFIG", "SET", "oom-score-adj", "absolute") == "OK"
        assert score() == 11
        assert r.call("CONFIG", "SET", "oom-score-adj", "no") == "OK"
        assert score() == before
        assert r.call("CONFIG", "SET", "oom-score-adj-values", "1 2 2001").startswith(
            "ERR CONFIG SET failed (possibly related to argument 'oom-score-adj-values') - "
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000.")


# --- Signals ---

def test_sigterm_asks_for_what_the_option_says(start):
    server = start()
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "shutdown-on-sigterm", "save nosave").startswith(
            "ERR CONFIG SET failed (possibly related to argument 'shutdown-on-sigterm') - "
            "shutdown options SAVE and NOSAVE can't be used simultaneously")
        assert r.call("CONFIG", "SET", "shutdown-on-sigterm", "save now") == "OK"
        r.call("SET", "a", "1")
    server.signal(signal.SIGHUP)
    server.stop()
    assert os.path.exists(os.path.join(server.directory.name, "dump.rdb"))


def test_cpus_may_be_named(start):
    cpu = min(os.sched_getaffinity(0))
    server = start("--server-cpulist", str(cpu), "--shards", "0")
    for thread in threads_of(server.pid):
        assert os.sched_getaffinity(thread) == {cpu}
    assert "1 shards" in server.log()
    server.stop()
    status, output = harness.run_to_end("--server-cpulist", "nought")
    assert status == 1 and "list of CPUs" in output


def collating_locale():
    """A locale in which words are not in the order of their bytes, or None."""
    listed = subprocess.run(["locale", "-a"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return next((name for name in listed.split() if re.match("(en|de|fr|pt)_", name)), None)


def test_sort_goes_by_the_locale(start):
    server = start()
    with server.raw() as r:
        r.call("RPUSH", "words", "b", "A", "a", "B")
        assert r.call("SORT", "words", "ALPHA") == [b"A", b"B", b"a", b"b"]
        assert r.call("CONFIG", "SET", "locale-collate", "nowhere") == (
            "ERR CONFIG SET failed (possibly related to argument 'locale-collate') - "
            "Invalid locale name")
        name = collating_locale()
        if name:
            assert r.call("CONFIG", "SET", "locale-collate", name) == "OK"
            assert r.call("SORT", "words", "ALPHA") == [b"a", b"A", b"b", b"B"]
            assert r.call("SORT", "words", "ALPHA", "STORE", "to") == 4
            assert r.call("LRANGE", "to", 0, -1) == [b"A", b"B", b"a", b"b"]
            assert r.call("CONFIG", "SET", "locale-collate", "C") == "OK"
            assert r.call("SORT", "words", "ALPHA") == [b"A", b"B", b"a", b"b"]
    server.stop()


# --- The system's log ---

def test_syslog_gets_the_lines_with_name_and_facility(start):
    path = "/dev/log"
    if os.path.lexists(path) or not os.access("/dev", os.W_OK):
        pytest.skip("there is a /dev/log, or none can be made")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    try:
        listener.settimeout(10)
        server = start("--syslog-enabled", "yes", "--syslog-ident", "glass", "--syslog-facility",
                       "LOCAL3")
        lines = [listener.recv(4096).decode() for _ in range(3)]
    finally:
        listener.close()
        os.unlink(path)
    notice_of_local3 = (16 + 3) * 8 + 5
    assert re.match(rf"<{notice_of_local3}>.* glass\[{server.pid}\]: ", lines[0])
    assert any("Lasca version=" in line for line in lines)


# --- Service managers ---

class Notified:
    """systemd's side of the notification socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(10)
        self.got = []

    def wait(self, line):
        while line not in self.got:
            self.got += self.socket.recv(4096).decode().split("\n")

    def close(self):
        self.socket.close()


@pytest.mark.parametrize("mode", ["systemd", "auto"])
def test_systemd_is_told(start, monkeypatch, tmp_path, mode):
    path = str(tmp_path / "notify")
    systemd = Notified(path)
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    server = start("--supervised", mode, "--daemonize", "yes")
    try:
        systemd.wait("READY=1")
        assert "EXTEND_TIMEOUT_USEC=30000000" in systemd.got
        assert "STATUS=Ready to accept connections" in systemd.got
        systemd.wait("WATCHDOG=1")
        server.signal(signal.SIGTERM)
        systemd.wait("STOPPING=1")
        server.check_end()
    finally:
        systemd.close()


def test_upstart_is_told_by_a_stop(monkeypatch, tmp_path):
    monkeypatch.setenv("UPSTART_JOB", "lasca")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [harness.BINARY, *harness.default_args(), "--port", str(harness.free_port()),
             "--supervised", "upstart"], stdout=log, stderr=log, cwd=tmp_path,
            env=harness.environment())
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        process.terminate()
        assert process.wait(harness.STOP_SECONDS) == 0
    finally:
        process.kill()


def test_a_supervisor_that_is_not_there_is_told_of(start):
    server = start("--supervised", "systemd")
    assert "NOTIFY_SOCKET not found" in server.log()
    server.stop()


# --- Crashes ---

crashes = pytest.mark.skipif(SANITIZED, reason="sanitizers report crashes themselves")


def kill_thread(server, index, number):
    thread = threads_of(server.pid)[index]
    assert ctypes.CDLL(None).syscall(TGKILL, server.pid, thread, int(number)) == 0


def report_of(server):
    log = server.log()
    assert log.count("=== LASCA BUG REPORT START: Cut & paste starting from here ===") == 1
    assert log.count("=== LASCA BUG REPORT END. Make sure to include from START to END. ===") == 1
    return log[log.index("=== LASCA BUG REPORT START"):]


def load(server, stopping):
    i = 0
    try:
        with server.raw() as r:
            while not stopping.is_set():
                i += 1
                r.send(b"".join(harness.encode("MSET", f"a{i + n}", "1", f"b{i + n}", "2")
                                for n in range(20)))
                for _ in range(20):
                    r.read_reply()
    except (OSError, harness.Closed):
        pass


@crashes
@pytest.mark.parametrize("number,thread", [(signal.SIGSEGV, 1), (signal.SIGABRT, 0)])
def test_a_crash_under_load_is_reported_and_ends_by_its_signal(start, number, thread):
    server = start()
    stopping = threading.Event()
    clients = [threading.Thread(target=load, args=(server, stopping)) for _ in range(4)]
    for c in clients:
        c.start()
    time.sleep(0.2)
    kill_thread(server, thread, number)
    status = server.wait_for_end()
    stopping.set()
    for c in clients:
        c.join()
    assert status == -number
    report = report_of(server)
    assert f"crashed by signal: {int(number)}, si_code: " in report
    assert f"Killed by PID: {os.getpid()}, UID: {os.getuid()}" in report
    for section in ("REGISTERS", "CURRENT COMMAND", "STACK TRACE", "CORES",
                    "STACKS OF OTHER THREADS", "SERVER"):
        assert f"------ {section} ------" in report
    assert len(re.findall(r"^core \d+( \(crashed\))?: [\w ]+, thread \d+, order \d+", report,
                          re.M)) == harness.SHARDS
    stack = report[report.index("STACK TRACE"):report.index("------ CORES")]
    assert ("core_run+" if thread else "main+") in stack, "static functions have names, too"
    assert len(re.findall(r"^thread \d+$", report, re.M)) >= harness.SHARDS


@crashes
def test_a_crash_tells_the_command_cut_and_in_one_line_an_argument(start):
    script = "while true do end --[[" + "x" * 100 + "]]"
    assert crash_within(start, "EVAL", script, "0", "glass\n1") == (
        f"client id: N\nname: eval\narguments: 4\nargv[0]: 'EVAL' 4 bytes\n"
        f"argv[1]: '{script[:64]}'... {len(script)} bytes\nargv[2]: '0' 1 bytes\n"
        f"argv[3]: 'glass.1' 7 bytes\n")


def crash_within(start, *argv):
    """The section of the report on the command that never ends."""
    server = start("--shards", "1", "--busy-reply-threshold", "0")
    with server.raw() as r:
        r.send(harness.encode(*argv))
        time.sleep(0.2)
        kill_thread(server, 1, signal.SIGBUS)
        assert server.wait_for_end() == -signal.SIGBUS
    report = report_of(server)
    assert "Core: 0" in report
    section = report.split("------ CURRENT COMMAND ------\n")[1].split("\n-----")[0]
    return re.sub(r"id: \d+", "id: N", section)


@crashes
def test_a_crash_may_go_unreported(start):
    server = start()
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "crash-log-enabled", "no") == "OK"
    server.signal(signal.SIGSEGV)
    assert server.wait_for_end() == -signal.SIGSEGV
    assert "BUG REPORT" not in server.log()


@crashes
def test_stacks_can_be_had_from_a_server_that_goes_on(start):
    server = start()
    for _ in range(2):
        server.signal(signal.SIGALRM)
        wait_for(lambda: server.log().rstrip().endswith("------"))
    with server.raw() as r:
        assert r.call("PING") == "PONG"
    server.stop()
    log = server.log()
    assert "Received SIGALRM" in log
    assert "core_run+" in log and "main+" in log


@crashes
def test_the_watchdog_shows_what_holds_a_core_up(start):
    server = start("--enable-debug-command", "yes")
    with server.raw() as r:
        assert r.call("CONFIG", "SET", "watchdog-period", 200) == "OK"
        time.sleep(0.4)
        assert "WATCHDOG" not in server.log(), "cores that sleep are well"
        begin = time.monotonic()
        assert r.call("DEBUG", "SLEEP", "0.8") == "OK"
        assert time.monotonic() - begin >= 0.8
        assert r.call("CONFIG", "SET", "watchdog-period", 0) == "OK"
    log = server.log()
    assert "--- WATCHDOG TIMER EXPIRED ---" in log and "debug_sleep+" in log


# --- What the program says about itself ---

def test_the_pages_need_no_server():
    status, names = harness.run_to_end("--options")
    assert status == 0
    options = {line.split("\t")[0]: line.split("\t")[1] for line in names.splitlines()}
    assert options["supervised"] == "upstart systemd auto no"
    status, manual = harness.run_to_end("--conf-man")
    assert status == 0 and manual.startswith('.\\"')


def complete_in_bash(line):
    script = os.path.join(harness.ROOT, "conf", "completion", "lasca-server.bash")
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
         '_lasca_server "$1"; printf "%s\\n" "${COMPREPLY[@]}"', "bash", script, harness.BINARY,
         *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_every_option_and_its_words(start):
    server = start()
    with server.raw() as r:
        known = r.call("CONFIG", "GET", "*")[::2]
    names = {line.split("\t")[0] for line in harness.run_to_end("--options")[1].splitlines()}
    assert names <= {name.decode() for name in known}
    completed = set(complete_in_bash("x --"))
    assert {"--" + name for name in names} <= completed
    assert complete_in_bash("--supervised s") == ["systemd"]
    assert complete_in_bash("--appendo") == ["--appendonly"]
