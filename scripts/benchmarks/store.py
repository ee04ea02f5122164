"""Runs jobs with one binary, several side by side, and keeps what each brought.

Results are kept by the binary's digest: a run that was broken off goes on where it stood, and no table mixes two binaries
unless told which earlier ones still compute the same; their rows are marked. What BENCHMARKS.md was written from lies beside it in
docs/benchmarks, one line a job, compressed.
"""

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cases import ROOT, Case, draw


@dataclass(frozen=True)
class Images:
    """Which images a job gets: `count` of the case's tiny set (or of another archive), drawn by a seed; none with count 0."""

    count: int
    draw: int = 0
    source: Path | None = None

    @staticmethod
    def of(case, count, draw=0):
        """The draw tells nothing where all images are taken."""
        return Images(count, draw if count < len(case) else 0)


@dataclass
class Request:
    """One `practised compress`, and what is to be evaluated of it."""

    case: Case
    images: Images
    job: dict = field(default_factory=dict)
    #: Fields of "preprocess" that other images need.
    preprocess: dict = field(default_factory=dict)
    #: Whether teacher and student are measured once more after the job.
    latency: bool = False
    #: Whether the student is evaluated on labelled images.
    quality: bool = True

    def key(self):
        told = [self.case.model.name, *dataclasses.astuple(self.images), self.job, self.preprocess, self.latency]
        return hashlib.sha256(json.dumps(told, default=lambda path: Path(path).name, sort_keys=True).encode()).hexdigest()[:16]


class Result:
    """What one job took and brought."""

    def __init__(self, told, earlier=False):
        #: Whether an earlier binary has run it.
        self.earlier = earlier
        self.report, self.cpu, self.wall, self.peak = (told[name] for name in ("report", "cpu", "wall", "peak"))
        self.after, self.before, self.latency = told["after"], told["before"], told.get("latency")

    @property
    def agreement(self):
        return self.after["agreement"]["value"]

    @property
    def top1(self):
        return self.after["top1"]["student"]["value"]

    @property
    def loss(self):
        return self.report["quality"]["feature_loss"]

    @property
    def dropped(self):
        return self.report["dropped_blocks"]

    @property
    def droppable(self):
        """Names of the blocks that may go."""
        return [block["name"] for block in self.report["blocks"] if block["droppable"]]

    def seconds(self, phase):
        return self.report["cost"]["phases"].get(phase, 0.0)


#: What a written BENCHMARKS.md rests on.
ARCHIVE = ROOT / "docs" / "benchmarks"


class Store:
    def __init__(self, binary, threads, parallel, may_run=True, earlier=()):
        self.binary, self.threads, self.parallel, self.may_run = Path(binary), threads, parallel, may_run
        self.digest = hashlib.sha256(self.binary.read_bytes()).hexdigest()[:12]
        self.folder = ROOT / "bench-out" / self.digest
        self.folder.mkdir(parents=True, exist_ok=True)
        #: By digest, those of this binary first; `used` are those that have been asked for.
        self.known = {digest: archived(digest) for digest in (self.digest, *earlier)}
        self.used = {digest: {} for digest in self.known}
        # The folder ignores itself, so that a run never shows up in `git status`.
        (ROOT / "bench-out" / ".gitignore").write_text("*\n")

    def run(self, requests):
        """The results, in order; None for what is not there where nothing may be run."""
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self.one, requests))

    def one(self, request):
        told = self.kept(request.key(), lambda: self.execute(request))
        return told and Result(told, earlier=self.build_of(request.key()) != self.digest)

    def kept(self, name, make):
        """What was kept under this name, or what is made now; None where it is not there and nothing may be run."""
        if not self.build_of(name):
            if not self.may_run:
                return None
            path = self.folder / f"{name}.json"
            part = path.with_suffix(".part")
            part.write_text(json.dumps(make()))
            part.rename(path)
        digest = self.build_of(name)
        self.used[digest][name] = self.known[digest][name]
        return self.known[digest][name]

    def build_of(self, name):
        """The digest of the binary that has run this, this one's before an earlier one's; None where none has."""
        for digest, known in self.known.items():
            path = self.folder.parent / digest / f"{name}.json"
            if name not in known and path.exists():
                known[name] = json.loads(path.read_text())
            if name in known:
                return digest
        return None

    def earlier_used(self):
        """Digests of the earlier binaries that something was taken from."""
        return [digest for digest, used in self.used.items() if used and digest != self.digest]

    def archive(self):
        """Puts all that has been asked for into the repository, and nothing else."""
        ARCHIVE.mkdir(exist_ok=True)
        for path in ARCHIVE.glob("*.jsonl.gz"):
            path.unlink()
        for digest, results in self.used.items():
            lines = [json.dumps({"name": name, "result": rounded(result)}) for name, result in sorted(results.items())]
            if lines:
                write_compressed(ARCHIVE / f"{digest}.jsonl.gz", "\n".join(lines) + "\n")

    def execute(self, request):
        case = request.case
        with tempfile.TemporaryDirectory(prefix="practised-bench-") as folder:
            folder = Path(folder)
            job, out = folder / "job.json", folder / "out"
            preprocess = json.loads(case.preprocess.read_text()) | request.preprocess
            job.write_text(json.dumps(request.job | {"preprocess": preprocess}))
            args = ["compress", case.model, "--job", job, "--out", out, "--json"]
            if request.images.count:
                source = request.images.source or case.tiny
                args += ["--images", draw(source, request.images.count, request.images.draw, folder)]
            _, cpu, wall, peak = self.call(*args)
            report = json.loads((out / "report.json").read_text())
            students = ("student.onnx", "student_before_finetune.onnx")
            after, before = (self.evaluate(case, out / name) if request.quality else None for name in students)
            latency = self.latency(case.model, out / "student.onnx", request.job["seed"]) if request.latency else None
        told = {"report": report, "after": after, "before": before, "cpu": cpu, "wall": wall, "peak": peak, "latency": latency}
        print(summary(request, Result(told)), file=sys.stderr, flush=True)
        return told | {"case": case.name, "job": request.job, "images": dataclasses.astuple(request.images)[:2]}

    def same_file(self, case, count):
        """Latency reductions of a network against itself, with their intervals."""
        measure = lambda: [self.latency(case.model, case.model, seed)["reduction"] for seed in range(count)]
        return self.kept(f"same-{case.model.stem}-{count}", measure)

    def latency(self, a, b, seed, batch=1):
        return json.loads(self.call("latency", a, b, "--seed", seed, "--batch", batch, "--json")[0])

    def evaluate(self, case, student):
        if not student.exists():
            return None
        args = ["--images", case.test, "--labels", case.labels, "--preprocess", case.preprocess, "--json"]
        return json.loads(self.call("evaluate", case.model, student, *args)[0])

    def call(self, *args):
        """Runs the binary; its output, CPU seconds, wall seconds and peak memory in bytes, children included."""
        threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        began = os.times().elapsed
        with tempfile.TemporaryFile() as errors:
            command = [self.binary, *map(str, args)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | threads)
            out = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                errors.seek(0)
                raise RuntimeError(f"{' '.join(map(str, args))}: {errors.read().decode()[-2000:]}")
        return out, usage.ru_utime + usage.ru_stime, os.times().elapsed - began, usage.ru_maxrss * 1024


def archived(digest):
    """Results of a binary that lie in the repository, by name."""
    path = ARCHIVE / f"{digest}.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines() if path.exists() else []
    return {line["name"]: line["result"] for line in map(json.loads, lines)}


def write_compressed(path, text):
    """Without a time in it: the same results give the same file."""
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def rounded(value):
    """Six digits of every number: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def summary(request, result):
    agreement = f"{100 * result.agreement:.2f}" if result.after else "-"
    return (
        f"  {request.case.name}, {request.images.count} images, draw {request.images.draw}: {json.dumps(request.job)}: "
        f"{' '.join(result.dropped)}, agreement {agreement}, loss {result.loss:.4f}, {result.cpu:.0f} CPU s, "
        f"{result.wall:.0f} s, {result.peak / 2**20:.0f} MiB"
    )
