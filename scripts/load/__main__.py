"""Measures what looking at jobs costs, and prints a table.

    python3 scripts/load [--binary target/release/practised] [--jobs 100000] [--queued 10000] [--events 10] [--seconds 10]

Makes a PostgreSQL of its own with that many jobs and events in it and starts the service on it, without workers. Then 200 clients
in a closed loop poll queued jobs over HTTP, in turn with 200 clients of pgbench that read the same rows by primary key with
PostgreSQL's own SELECT. The ratio of the 99th percentiles is what the service adds. Beside it: lists, the claim of a task, and a
scrape. Both loops have the machine to themselves only if nothing else runs on it; the ratio is of neighbouring runs.
"""

import argparse
import json
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLE = ROOT / "examples" / "fashion-mnist"
PORT = "54398"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/practised")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--queued", type=int, default=10_000, help="how many of the jobs wait")
    parser.add_argument("--events", type=int, default=10, help="events of each job")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10, help="of each run of a closed loop")
    parser.add_argument("--runs", type=int, default=3, help="of each closed loop")
    parser.add_argument("--claims", type=int, default=20, help="seconds in which a worker claims tasks; 0 leaves them out")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="practised-load-", dir="/tmp")))
        client = folder / "client"
        subprocess.run(["rustc", "-O", "--edition", "2024", HERE / "client.rs", "-o", client], check=True)
        database = stack.enter_context(Database(folder))
        service = stack.enter_context(Service(options.binary.resolve(), folder, database))
        service.submit_example()
        variables = [f"--set={name}={getattr(options, name)}" for name in ("jobs", "queued", "events")]
        database.psql(*variables, "--file", HERE / "seed.sql")
        print(f"{options.jobs} jobs, {options.queued} of them queued, {options.jobs * options.events} events; "
              f"{options.clients} clients; {os.cpu_count()} cores; {options.binary}\n")
        closed_loops(options, client, database, service)
        single_requests(service)
        if options.claims:
            claims(options, database)


class Database:
    """A PostgreSQL cluster in a folder, which ends with it."""

    def __init__(self, folder):
        bin_dirs = [Path("/usr/bin"), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
        self.programs = next(path for path in bin_dirs if (path / "initdb").exists())
        self.folder = folder / "database"
        # PostgreSQL does not run as root.
        self.user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.url = f"postgres://postgres@localhost:{PORT}/load?host={str(self.folder).replace('/', '%2F')}"

    def __enter__(self):
        self.folder.mkdir()
        if self.user:
            self.folder.parent.chmod(0o755)
            shutil.chown(self.folder, pwd.getpwnam("postgres").pw_uid)
        data = self.folder / "data"
        self.run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--data-checksums")
        settings = ("-c listen_addresses='' -c max_connections=300 -c shared_preload_libraries=pg_stat_statements "
                    f"-c log_min_messages=error -p {PORT} -k {self.folder}")
        self.run("pg_ctl", "-D", data, "-o", settings, "-l", self.folder / "log", "-w", "start")
        self.run("createdb", "-h", self.folder, "-p", PORT, "-U", "postgres", "load")
        self.psql("--command", "create extension pg_stat_statements")
        return self

    def __exit__(self, *_):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def run(self, program, *arguments):
        command = [*self.user, self.programs / program, *arguments]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def psql(self, *arguments):
        command = ["psql", "-h", self.folder, "-p", PORT, "-U", "postgres", "-d", "load", "-qAt", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run([str(part) for part in [*command, *arguments]], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def select_loop(self, options):
        """Requests per second, median and 99th percentile in ms of a SELECT by primary key."""
        script = self.folder.parent / "select.sql"
        first = options.jobs - options.queued + 1
        script.write_text(
            f"\\set n random({first}, {options.jobs})\n"
            "select * from job where id = ('01a30000-0000-7000-8000-' || lpad(to_hex(:n::integer), 12, '0'))::uuid;\n")
        with tempfile.TemporaryDirectory() as logs:
            command = ["pgbench", "-n", "-M", "prepared", "-c", str(options.clients), "-j", "1", "-T",
                       str(int(options.seconds)), "-f", str(script), "--log", "--log-prefix", f"{logs}/log",
                       "-h", str(self.folder), "-p", PORT, "-U", "postgres", "load"]
            subprocess.run(command, check=True, capture_output=True)
            lines = [line.split() for path in Path(logs).iterdir() for line in path.read_text().splitlines()]
        times = [(int(line[4]) + int(line[5]) / 1e6, int(line[2]) / 1e3) for line in lines]
        # By the times of the transactions: connecting takes a part of the run.
        began, ended = min(times)[0] + options.seconds * 0.1, max(times)[0]
        kept = sorted(spent for at, spent in times if at > began)
        return len(kept) / (ended - began), kept[len(kept) // 2], kept[int(len(kept) * 0.99)]


class Service:
    """`practised serve` without workers on a database."""

    def __init__(self, binary, folder, database):
        self.command = [str(binary), "serve", "--workers", "0", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
        self.environment = {**os.environ, "DATABASE_URL": database.url, "PRACTISED_LOG": "warn"}

    def __enter__(self):
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, body=None, media_type="application/json"):
        request = urllib.request.Request(self.url + path, data=body, headers={"content-type": media_type})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(request).read()

    def submit_example(self):
        model = json.loads(self.ask("/v1/models", (EXAMPLE / "model.onnx").read_bytes(), "application/octet-stream"))
        images = json.loads(self.ask("/v1/image-sets", (EXAMPLE / "tiny-200.zip").read_bytes(), "application/zip"))
        self.model = model["id"]
        job = {"model": model["id"], "images": images["id"], "target": {"blocks": 2},
               "preprocess": json.loads((EXAMPLE / "preprocess.json").read_text())}
        self.ask("/v1/jobs", json.dumps(job).encode())


def closed_loops(options, client, database, service):
    first = options.jobs - options.queued + 1
    paths = "\n".join(f"/v1/jobs/01a30000-0000-7000-8000-{n:012x}" for n in range(first, options.jobs + 1))
    host = service.url.removeprefix("http://")
    print("| run | | per second | median ms | p99 ms |")
    print("|---|---|---|---|---|")
    ratios = []
    for run in range(1, options.runs + 1):
        select = database.select_loop(options)
        command = [client, host, str(options.clients), str(options.seconds)]
        poll = [float(part) for part in subprocess.run(command, input=paths, check=True, capture_output=True,
                                                       text=True).stdout.split()]
        for name, (rate, median, p99) in (("SELECT", select), ("poll", poll)):
            print(f"| {run} | {name} | {rate:.0f} | {median:.2f} | {p99:.2f} |", flush=True)
        ratios.append(poll[2] / select[2])
    spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\np99 of a poll over p99 of SELECT: {statistics.median(ratios):.2f} (runs: {spread})\n", flush=True)


def single_requests(service):
    requests = {
        "one poll of the last queued job": "/v1/jobs/" + json.loads(service.ask("/v1/jobs?status=queued&limit=1"))["data"][0]["id"],
        "GET /v1/jobs": "/v1/jobs?limit=50",
        "GET /v1/jobs?status=queued": "/v1/jobs?limit=50&status=queued",
        "GET /v1/jobs?status=failed (none)": "/v1/jobs?limit=50&status=failed",
        "GET /v1/jobs?status=running&model=…": f"/v1/jobs?limit=50&status=running&model={service.model}",
        "GET /metrics": "/metrics",
    }
    print("| one client | median ms | most ms |")
    print("|---|---|---|")
    for name, path in requests.items():
        spent = []
        # The first executions are planned for their parameters, later ones may get a plan for all.
        for _ in range(30):
            began = time.perf_counter()
            service.ask(path)
            spent.append((time.perf_counter() - began) * 1e3)
        print(f"| {name} | {statistics.median(spent[10:]):.1f} | {max(spent[10:]):.1f} |", flush=True)


def claims(options, database):
    """What the claim takes inside PostgreSQL, while a worker claims one task after the other."""
    database.psql("--command", "select pg_stat_statements_reset()")
    worker = subprocess.Popen([str(options.binary.resolve()), "worker"], stderr=subprocess.DEVNULL,
                              env={**os.environ, "DATABASE_URL": database.url, "TMPDIR": str(database.folder.parent)})
    time.sleep(options.claims)
    worker.terminate()
    worker.wait()
    row = database.psql("--command", "select calls, round(mean_exec_time::numeric, 2), round(max_exec_time::numeric, 2) "
                        "from pg_stat_statements where query like 'with live as%' order by calls desc limit 1")
    calls, mean, most = row.split("|") if row else ("0", "-", "-")
    print(f"\nThe claim inside PostgreSQL: {mean} ms in the mean, {most} ms at most, over {calls} claims")


if __name__ == "__main__":
    sys.exit(main())
