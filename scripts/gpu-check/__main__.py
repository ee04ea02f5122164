"""Checks and times the binary on a GPU, beside plain PyTorch on the same machine.

    python3 scripts/gpu-check [--device cuda:0] [--binary target/release/practised] [--only SECTION]... [--quick]

For a bare machine that has PyTorch 2.11, torchvision and onnx for Python, and nothing else: the binary may be one that was built for
the CPU elsewhere and carried there, with libonnxruntime.so beside it or named by ORT_DYLIB_PATH. It is run on PyTorch's own
libraries. Networks have random weights and images are made, so the figures are about time; what is right is checked by
ONNX's backend tests and by each job's own comparison with ONNX Runtime.

Sections, in this order, each printed as soon as it is there:
  conformance  ONNX's backend tests on the device (scripts/conformance)
  steps        milliseconds of a training step by phase, beside PyTorch's loop in float32, TF32 and bfloat16
  jobs         whole jobs of `practised compress`, with how busy the GPU was in all and in training
  together     three jobs side by side and one after the other

Without a GPU it says so and ends with code 2; `--device cpu` runs all of it there. All figures are kept in --out as JSON, also of a run that was interrupted.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/zoo"))

try:
    import checks
    import jobs
    import libraries
    import steps
    import subjects
except ImportError as error:
    print(f"gpu-check: {error}; pip install -r scripts/gpu-check/requirements.txt", file=sys.stderr)
    sys.exit(2)
from table import table

SECTIONS = {"conformance": checks.conformance, "steps": steps.steps, "jobs": jobs.jobs, "together": jobs.together}


@dataclass
class Run:
    """What is checked, with what, and what was seen so far."""

    binary: Path
    device: str
    baseline: Path | None
    quick: bool
    folder: Path
    out: Path
    limit: float
    environment: dict
    networks: list
    seen: dict = field(default_factory=dict)

    def keep(self, section, figures):
        self.seen[section] = figures
        self.out.write_text(json.dumps(self.seen, indent=1) + "\n")


def main():
    args = parsed()
    warnings.filterwarnings("ignore")
    if missing := unmet(args):
        print(f"gpu-check: {missing}", file=sys.stderr)
        return 2
    began = time.monotonic()
    failed = False
    with tempfile.TemporaryDirectory(prefix="practised-gpu-check-") as scratch:
        run = Run(
            binary=args.binary.resolve(),
            device=args.device,
            baseline=args.baseline and args.baseline.resolve(),
            quick=args.quick,
            folder=Path(scratch),
            out=args.out,
            limit=args.limit,
            environment=libraries.environment(args.threads),
            networks=[subject for subject in subjects.SUBJECTS if not args.network or subject.name in args.network],
        )
        run.keep("machine", machine(args.device))
        say(run.seen["machine"]["text"])
        for name in args.only or SECTIONS:
            say(f"\n## {name}")
            heads, rows, problems = SECTIONS[name](run)
            say(table(heads, rows))
            for problem in problems:
                say(f"failed: {problem}")
            failed |= bool(problems)
    say(f"\n{time.monotonic() - began:.0f} s in all; figures in {args.out}")
    return 1 if failed else 0


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default=os.environ.get("DEVICE", "cuda:0"), help="cpu or cuda:N (default: $DEVICE or cuda:0)")
    parser.add_argument("--binary", default=ROOT / "target/release/practised", type=Path)
    parser.add_argument("--baseline", type=Path, metavar="BINARY", help="an earlier binary, whose jobs are timed too")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; may be given several times")
    parser.add_argument("--network", action="append", choices=[subject.name for subject in subjects.SUBJECTS], help="this network only")
    parser.add_argument("--quick", action="store_true", help="few steps and small batches, to see that it runs")
    parser.add_argument("--limit", type=float, default=900, metavar="SECONDS", help="a job is stopped after so long (default: 900)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores on a GPU, 1 on the CPU)")
    parser.add_argument("--out", default=Path("gpu-check.json"), type=Path)
    args = parser.parse_args()
    if args.threads is None:
        args.threads = 1 if args.device == "cpu" else os.cpu_count()
    return args


def unmet(args):
    """What is not there that the checks need, and what to do about it; nothing if all is."""
    for binary in filter(None, [args.binary, args.baseline]):
        if not binary.is_file():
            return f"there is no {binary}; build it with `cargo build --release`, or name one with --binary or --baseline"
    if trouble := libraries.no_gpu(args.device):
        return f"{args.device} cannot be used: {trouble}; `--device cpu` runs the same checks without a GPU"
    return None


def machine(device):
    import torch

    gpu = libraries.gpu_name(device)
    text = f"{gpu or 'no GPU'}, torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}, {time.strftime('%Y-%m-%d')}"
    return {"text": text, "gpu": gpu, "torch": torch.__version__, "cores": os.cpu_count()}


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
