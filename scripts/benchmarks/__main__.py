"""Runs whole jobs side by side with one binary and writes BENCHMARKS.md.

    python3 scripts/benchmarks [--full] [--only SECTION]... [--render] [--binary target/release/practised]

Every row is one `practised compress` from the command line, in a process of its own: its CPU seconds and its peak memory are
what the system says of that process and its children. Quality is measured afterwards, with `practised evaluate` on labelled
images that no job has seen. What a job brought is kept under bench-out/ and, once the file is written, in docs/benchmarks: a run
that was broken off goes on where it stood, and `--render` writes the file from what is there.

Without ../shared (real networks beyond the example's) the example alone is run, and the file says so. The short form takes
twenty minutes on two cores; `--full` runs the paper's recipe with all its steps, more image counts, seeds, networks and
sections: many hours.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from cases import ROOT, have_shared
from filters import against_filters
from growth import growth
from intervals import coverage
from made_and_foreign import foreign_images, zero_images
from markdown import EARLIER
from ranking import figure3
from recovery import credit, deep_network, few_images, large_images, hard_set, table1, whole_jobs
from store import Store

WRITTEN = ROOT / "BENCHMARKS.md"

SECTIONS = {
    "whole": ("Whole jobs: the paper's method and ours", whole_jobs),
    "credit": ("What each part brings", credit),
    "few": ("Few images", few_images),
    "hard": ("A hard set", hard_set),
    "zero": ("Table 2: no images", zero_images),
    "foreign": ("Table 3: foreign images", foreign_images),
    "large": ("Large images", large_images),
    "deep": ("A deep network", deep_network),
    "filters": ("Blocks against filters", against_filters),
    "ranking": ("Figure 3: recoverability and what is left after fine-tuning", figure3),
    "intervals": ("Intervals", coverage),
    "growth": ("How the cost grows", growth),
    "table1": ("Table 1: the same blocks, several ways", table1),
}

#: Sections of the short form.
IN_SHORT = ["whole", "few", "zero", "intervals", "growth", "table1"]


@dataclass
class Scale:
    full: bool
    seeds: range
    draws: range
    paper_steps: int
    iterations: int
    interval_jobs: int


SHORT = Scale(full=False, seeds=range(1), draws=range(1), paper_steps=400, iterations=100, interval_jobs=4)
FULL = Scale(full=True, seeds=range(3), draws=range(5), paper_steps=2000, iterations=1000, interval_jobs=40)


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}"


HOW_TO_READ = """\
## How to read this page

* *agreement*, *top-1*: on labelled images that no job has seen. The teacher's own top-1 is in the models' READMEs.
* *feature loss*: mean squared error of the student's features, as in the report; less is better, and it is comparable only within one table.
* *CPU s*: of the whole process with its measurements. The machine is shared: compare CPU seconds within a table, not wall seconds.
* `a (b–c)`: the median over seeds or draws, with the least and the most. One number without brackets is one run.
* A difference counts if it is larger than the spread of both rows. Two rows that overlap are level.
* The raw results of every row are in docs/benchmarks, one JSON line a job, compressed."""


def heading(args, store):
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    yield "# Benchmarks"
    yield (
        f"`{'make bench FULL=1' if args.full else 'make bench'}` on {datetime.date.today()}: {machine()}; {version} (sha256 {store.folder.name}). Written by "
        "`scripts/benchmarks`, not by hand."
    )
    yield (
        f"{args.parallel} jobs at a time, each with {args.threads} thread{'s' if args.threads > 1 else ''}; the machine is shared, "
        "so compare CPU seconds within a table. CPU seconds and peak memory are of the whole process with its latency measurements. "
        "Agreement with the teacher and top-1 are on labelled images that no job has seen; the feature loss is the one in the "
        "report, on the job's own held-out images (with fewer than 16, on mixtures of what there is). Cells with several seeds or "
        "draws are medians, with the least and the most in brackets."
    )
    if not args.full:
        yield (
            "A short form, without some sections and most cases of the others: the paper's recipe runs 400 of its 2,000 steps with its "
            "schedule squeezed, and ranks with 100 of its 1,000 iterations, which makes ours look better in quality and worse in cost than the full form does."
        )
    if store.earlier_used():
        yield (
            f"{EARLIER} in front of the CPU seconds: run with an earlier build (sha256 {', '.join(store.earlier_used())}), which "
            "computes the same in those rows, but for rounding."
        )
    if not store.may_run:
        yield "Written from what has been run so far: rows that have not been are left out."
    if not have_shared():
        yield "Networks beyond the example: skipped, no ../shared."
    yield HOW_TO_READ


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="run this section, write nothing")
    parser.add_argument("--render", action="store_true", help="write the file from what has been run")
    parser.add_argument("--binary", default=ROOT / "target/release/practised")
    parser.add_argument("--out", default=WRITTEN, type=Path)
    parser.add_argument("--threads", default=1, type=int, help="threads of each job")
    parser.add_argument("--parallel", default=os.cpu_count(), type=int, help="jobs at a time")
    parser.add_argument("--seeds", type=int, help="fewer seeds than the form has")
    parser.add_argument("--draws", type=int, help="fewer draws of few images than the form has")
    parser.add_argument(
        "--earlier",
        metavar="DIGEST",
        action="append",
        default=[],
        help="take what this build has not run from an earlier one, for rows that it computes alike",
    )
    args = parser.parse_args()
    scale = FULL if args.full else SHORT
    scale = replace(scale, seeds=scale.seeds[: args.seeds], draws=scale.draws[: args.draws])
    store = Store(args.binary, args.threads, args.parallel, may_run=not args.render, earlier=args.earlier)
    parts = []
    for name in args.only or (SECTIONS if args.full else IN_SHORT):
        title, section = SECTIONS[name]
        print(title, file=sys.stderr, flush=True)
        parts += [f"## {title}", *section(store, scale)]
    text = "\n\n".join([*heading(args, store), *parts]) + "\n"
    if args.only:
        print(text)
        return
    with open(args.out, "w") as file:
        file.write(text)
    if args.out == WRITTEN:
        store.archive()
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
