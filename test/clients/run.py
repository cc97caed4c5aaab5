#!/usr/bin/python3
"""Runs the scenarios with real clients against a server: README.md says what they are.

    run.py [--server BINARY] [--shards N,N] [--fast] [FILTER...]
    run.py --packages [--fast] [FILTER...]     the Debian packages that they need
    run.py --workspaces [--fast] [FILTER...]   those that need packages of npm
    run.py --page RESULTS                      docs/clients.md, from the results of runs

Each scenario gets a server of its own, which must end well, too. Two run at a time. Prints a line
for each, `ok` or `FAILED` with its log.
"""

import argparse
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.join(HERE, "lib")
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import harness  # noqa: E402

# A newer node than the system's, where that was installed.
NODE = glob.glob(os.path.join(HERE, "node", "node_modules", "node-linux-*", "bin"))
SCENARIO_SECONDS = 90
LOG_BYTES_SHOWN = 12000
PORTS = 24  # for servers that scenarios start themselves


class Scenario:
    """A folder with `run`, a program, and `meta`: lines of KEY=WORDS."""

    def __init__(self, name):
        self.name = name
        self.folder = os.path.join(HERE, name)
        with open(os.path.join(self.folder, "meta"), encoding="utf-8") as f:
            self.meta = dict(line.rstrip("\n").split("=", 1) for line in f)
        unknown = set(self.meta) - {"clients", "shows", "packages", "fast"}
        assert not unknown, f"{name}/meta: unknown {unknown}"

    def words(self, key):
        return self.meta.get(key, "").split()

    def is_workspace(self):
        return os.path.exists(os.path.join(self.folder, "package.json"))

    def versions(self):
        return ", ".join(f"{c} {version(self.folder, c)}" for c in self.words("clients"))


def scenarios(options):
    names = sorted(n for n in os.listdir(HERE) if os.path.exists(os.path.join(HERE, n, "meta")))
    for name in names:
        scenario = Scenario(name)
        if options.fast and not scenario.words("fast"):
            continue
        if not options.filter or any(word in name for word in options.filter):
            yield scenario


def version(folder, client):
    """Of a package of npm, as the scenario finds it, or else of Debian."""
    for place in (folder, HERE):
        path = os.path.join(place, "node_modules", client, "package.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                return json.load(f)["version"]
    told = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", client], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return told.split(":")[-1] or "?"


class Target:
    """A kind of server to run against: Lasca on a number of shards, or the reference."""

    def __init__(self, binary, shards):
        self.binary = binary
        self.shards = shards
        self.title = f"{shards} shard{'s' * (shards > 1)}" if shards else "Redis"
        self.args = ["--shards", str(shards), "--io-backend", harness.BACKEND] if shards else []

    def start(self):
        return harness.Server(command=lambda port: [
            self.binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *self.args])

    def environment(self, server, work, first_port):
        port = str(server.port)
        path = ":".join([*NODE, os.environ["PATH"]])
        return {
            **harness.environment(), "PATH": path, "WORK": work, "TMPDIR": work, "HOME": work,
            "REDIS_HOST": "127.0.0.1", "REDIS_PORT": port,
            "REDIS_URL": f"redis://127.0.0.1:{port}", "REDIS_SERVER": self.binary,
            "REDIS_SERVER_ARGS": " ".join(self.args), "PORT_BASE": str(first_port),
            "PYTHONPATH": LIBRARY, "PYTHONUNBUFFERED": "1", "PERL5LIB": LIBRARY,
            "RUBYLIB": LIBRARY, "LC_ALL": "C.UTF-8",
        }


def run_program(scenario, target, server, log):
    """Its exit status; None where it took too long. Nothing that it started outlives it."""
    first_port = harness.free_ports(PORTS)
    work = tempfile.mkdtemp(prefix=f"lasca-{scenario.name}-")
    process = subprocess.Popen(["./run"], cwd=scenario.folder, stdin=subprocess.DEVNULL,
                               stdout=log, stderr=log, start_new_session=True,
                               env=target.environment(server, work, first_port))
    try:
        return process.wait(SCENARIO_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        shutil.rmtree(work, ignore_errors=True)
        for port in range(first_port, first_port + PORTS):
            harness.release_port(port)


def complaint_of(scenario, target, log):
    """What there is to complain of after a run: of the program, then of the server's end."""
    server = target.start()
    try:
        status = run_program(scenario, target, server, log)
        text = {0: "", None: f"not done after {SCENARIO_SECONDS} s\n"}.get(
            status, f"exit status {status}\n")
        try:
            server.stop()
        except AssertionError as problem:
            text += f"{problem}\n"
        return text
    finally:
        server.destroy()


def run(scenario, target):
    """Runs one scenario: (whether all was well, seconds, what there is to say)."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        try:
            complaint = complaint_of(scenario, target, log)
        except (AssertionError, OSError) as problem:
            complaint = f"{problem}\n"
        if complaint:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES_SHOWN))
            complaint += log.read().decode(errors="replace")
    return not complaint, time.monotonic() - began, complaint


def run_all(chosen, targets, options):
    """Runs each scenario against each target; prints what becomes of them as they end."""
    failed = 0
    pairs = [(scenario, target) for target in targets for scenario in chosen]
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(lambda pair: run(*pair), pairs)
        for (scenario, target), (good, seconds, complaint) in zip(pairs, outcomes):
            title = f"{scenario.name} on {target.title}"
            print(f"{'ok    ' if good else 'FAILED'}  {title:40} {seconds:5.1f} s", flush=True)
            if not good:
                print("    | " + complaint.strip().replace("\n", "\n    | "), flush=True)
                failed += 1
            if options.results:
                told = (scenario.name, target.title, "ok" if good else "FAILED", f"{seconds:.1f}",
                        scenario.versions())
                options.results.write("\t".join(told) + "\n")
    return failed


PAGE = """# Clients

Written by `test/clients/run.py --page`. Each row is a scenario of
[test/clients/](../test/clients/README.md): the clients, libraries and frameworks named, in the
versions named, are used as their users use them, and what comes back is checked.
`scripts/test --clients` runs them all against Lasca with one and with four shards, and against
Debian's redis-server 7.0; a plain `scripts/test` runs those whose name is in bold.

| scenario | clients and versions | what is exercised | 1 shard | 4 shards | Redis |
| --- | --- | --- | --- | --- | --- |
"""


def page(results):
    """docs/clients.md. What was run last counts."""
    told, versions = {}, {}
    with open(results, encoding="utf-8") as f:
        for line in f:
            name, target, outcome, _, version_list = line.rstrip("\n").split("\t")
            told[name, target] = outcome
            versions[name] = version_list
    text = PAGE
    for name in sorted(versions):
        scenario = Scenario(name)
        bold = "**" * bool(scenario.words("fast"))
        cells = [bold + name + bold, versions[name], scenario.meta["shows"]]
        cells += [told.get((name, t), "-") for t in ("1 shard", "4 shards", "Redis")]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--server", default=harness.BINARY)
    parser.add_argument("--shards", default="1,4")
    parser.add_argument("--reference", action="store_true", help="also Debian's redis-server")
    parser.add_argument("--fast", action="store_true", help="only those that CI runs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=argparse.FileType("a", encoding="utf-8"))
    parser.add_argument("--names", action="store_true")
    parser.add_argument("--packages", action="store_true")
    parser.add_argument("--workspaces", action="store_true")
    parser.add_argument("--page")
    parser.add_argument("filter", nargs="*")
    options = parser.parse_args()
    if options.page:
        print(page(options.page), end="")
        return 0
    chosen = list(scenarios(options))
    if options.packages:
        print(" ".join(sorted({word for s in chosen for word in s.words("packages")})))
        return 0
    if options.names or options.workspaces:
        print(" ".join(s.name for s in chosen if options.names or s.is_workspace()))
        return 0
    targets = [Target(os.path.abspath(options.server), int(n))
               for n in options.shards.split(",") if n]
    if options.reference:
        targets.append(Target("/usr/bin/redis-server", 0))
    return 1 if run_all(chosen, targets, options) else 0


if __name__ == "__main__":
    sys.exit(main())
