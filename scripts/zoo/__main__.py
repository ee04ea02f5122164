"""Exports the networks of networks.py with PyTorch, looks at each, drops one block of each, and writes docs/networks.md.

    python3 scripts/zoo [--only NAME]... [--binary target/release/practised] [--folder FOLDER]

PyTorch, torchvision and timm live in a virtual environment of their own (`make zoo` makes it; 5 GB). Every network is exported with
random weights by the TorchScript-based exporter (a fixed batch, BatchNormalization folded) and by the dynamo exporter (a free batch);
ResNet-18 in every other form that customers send. The executor's outputs are compared with PyTorch's and with ONNX Runtime's; without
one block, with ONNX Runtime's on the file that is written, which `onnx.checker` has to accept with its full check.

What was found is kept under target/zoo, by the binary's digest: a run that was interrupted resumes where it stood.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

# Threads that wait for each other in a loop cost most of the time on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import exporting
import numpy
import onnx
import onnxruntime
import tiny
from networks import NETWORKS, forms
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
#: What an output may be off by, as a share of its largest element.
TOLERANCE = 1e-3
BATCH = 2


@dataclass
class Row:
    """What became of one export."""

    network: str
    form: str
    family: str
    expected: int | None
    refused: str = ""
    additions: int = 0
    droppable: int = 0
    framework: str = ""
    onnxruntime: str = ""
    apart: float = 0.0
    dropped: str = ""
    without: str = ""

    def problems(self):
        if self.refused:
            return [] if self.expected == 0 else [self.refused]
        found = [] if self.expected in (None, self.droppable) else [f"{self.droppable} droppable, {self.expected} expected"]
        told = {"its framework": self.framework, "ONNX Runtime": self.onnxruntime, "without a block": self.without}
        wrong = [f"{name}: {text}" for name, text in told.items() if text and not number(text)]
        if wrong and self.apart > TOLERANCE:
            wrong.append(f"the order of float32 sums: the framework and ONNX Runtime are {self.apart:.0e} apart themselves")
        return found + wrong

    def tell(self):
        print(f"{self.network}, {self.form}: {'; '.join(self.problems()) or 'fine'}", flush=True)


class Kept:
    """Rows of one binary, one JSON line each."""

    def __init__(self, binary):
        digest = hashlib.sha256(Path(binary).read_bytes()).hexdigest()[:12]
        self.file = ROOT / "target" / "zoo" / f"{digest}.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        rows = [Row(**json.loads(line)) for line in lines]
        self.rows = {(row.network, row.form): row for row in rows}

    def row(self, network, form, make):
        """The row that was kept, or the one that is made now."""
        if (network, form) not in self.rows:
            row = make()
            row.tell()
            with self.file.open("a") as file:
                file.write(json.dumps(dataclasses.asdict(row)) + "\n")
            self.rows[network, form] = row
        return self.rows[network, form]


def number(text):
    try:
        return float(text) <= TOLERANCE
    except ValueError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/practised", type=Path)
    parser.add_argument("--folder", type=Path, help="keep the exports here, and take those that are there")
    parser.add_argument("--only", action="append", default=[], help="networks whose name holds this; writes nothing")
    parser.add_argument("--keras", type=Path, metavar="FOLDER", help="look at the exports of scripts/keras there as well")
    parser.add_argument("--fixtures", type=Path, metavar="FOLDER", help="write the tests' tiny networks there and nothing else")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if args.fixtures:
        tiny.write(args.fixtures)
        return
    chosen = [(network, form) for network in NETWORKS for form in forms(network)]
    if args.only:
        chosen = [(network, form) for network, form in chosen if any(part in network.name for part in args.only)]
    kept = Kept(args.binary)
    if args.only:
        kept.rows.clear()
    rows = []
    with tempfile.TemporaryDirectory(prefix="practised-zoo-") as scratch:
        case = Path(scratch) / "case"
        for network, form in chosen:
            make = lambda: exported_and_looked_at(network, form, args.folder or Path(scratch), case, args.binary)
            rows.append(kept.row(network.name, form.name, make))
            # Together they would take twenty gigabytes.
            for path in Path(scratch).glob("*.onnx"):
                path.unlink()
        for path in sorted(args.keras.glob("keras-*.onnx")) if args.keras else []:
            told = json.loads(path.with_suffix(".json").read_text())
            row = Row(told["network"], "tf2onnx", told["family"], told["droppable"])
            rows.append(kept.row(row.network, row.form, lambda: looked_at(row, path, case, args.binary)))
    troubled = [row for row in rows if row.problems()]
    print(f"{len(rows)} exports, {len(troubled)} with something to say")
    if not args.only:
        out = ROOT / "docs/networks.md"
        out.write_text("\n\n".join(page(rows)) + "\n")
        print(f"wrote {out}")


def exported_and_looked_at(network, form, folder, case, binary):
    row = Row(network.name, form.name, network.family, network.droppable)
    path = folder / f"{network.name.replace('/', '-')}-{form.name.replace(' ', '-').replace(',', '')}.onnx"
    try:
        exported(network, form, path)
    except Exception as error:
        row.refused = f"PyTorch does not export it: {str(error).splitlines()[0][:200]}"
        return row
    return looked_at(row, path, case, binary, form.trains)


def looked_at(row, path, case, binary, trains=False):
    checked = subprocess.run([binary, "check", path, "--json"], capture_output=True, text=True)
    told = json.loads(checked.stdout)
    if checked.returncode:
        row.refused = told["detail"]
        return row
    blocks = [block["name"] for block in told["blocks"] if block["droppable"]]
    row.additions, row.droppable = len(told["blocks"]), len(blocks)
    answers = numpy.load(path.with_suffix(".npz"))
    session = onnxruntime.InferenceSession(path)
    inputs = [answers[f"input_{at}"] for at in range(len(session.get_inputs()))]
    of_framework = [answers[f"output_{at}"] for at in range(len(session.get_outputs()))]
    row.framework = compared(case, path, inputs, of_framework, binary)
    if not trains:
        of_runtime = ran(session, inputs)
        row.onnxruntime = compared(case, path, inputs, of_runtime, binary)
        row.apart = float(max(numpy.abs(a - b).max() / numpy.abs(a).max() for a, b in zip(of_framework, of_runtime)))
    if blocks:
        # One in the middle is neither beside the stem nor beside the head.
        row.dropped = blocks[len(blocks) // 2]
        row.without = without(row.dropped, path, case, inputs, binary)
    return row


def exported(network, form, path):
    """Exports, with the network's answers to an example beside it."""
    if path.exists() and path.with_suffix(".npz").exists():
        return
    model, inputs = exporting.built(network), exporting.example(network, BATCH)
    answers = {f"output_{at}": told.numpy() for at, told in enumerate(exporting.answers(model, inputs))}
    numpy.savez(path.with_suffix(".npz"), **answers, **{f"input_{at}": told.numpy() for at, told in enumerate(inputs)})
    form.export(model, inputs, path)


def ran(session, inputs):
    return session.run(None, {value.name: told for value, told in zip(session.get_inputs(), inputs)})


def without(block, path, case, inputs, binary):
    """A file without one block: whether ONNX accepts it, and how far the executor is from ONNX Runtime on it."""
    file = case.with_suffix(".onnx")
    dropped = subprocess.run([binary, "drop", path, "--block", block, "--out", file], capture_output=True, text=True)
    if dropped.returncode:
        return dropped.stderr.strip()
    try:
        onnx.checker.check_model(file, full_check=True)
        outputs = ran(onnxruntime.InferenceSession(file), inputs)
    except Exception as error:
        return str(error).splitlines()[0][:200]
    return compared(case, file, inputs, outputs, binary)


def compared(case, path, inputs, outputs, binary):
    """The executor's largest difference from these outputs, as a share of the largest element; or what is wrong."""
    shutil.rmtree(case, ignore_errors=True)
    run = case / "test_data_set_0"
    run.mkdir(parents=True)
    (case / "model.onnx").symlink_to(path.resolve())
    for kind, values in (("input", inputs), ("output", outputs)):
        for at, value in enumerate(values):
            (run / f"{kind}_{at}.pb").write_bytes(numpy_helper.from_array(value).SerializeToString())
    command = [binary, "conformance", "--folded", "--rtol", "0", "--of-scale", "1", case]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        return f"it ended the process: {done.stderr.strip()[-200:]}"
    told = json.loads(done.stdout)
    return f"{told['error']:.0e}" if told["outcome"] == "passed" else told["detail"][:300]


def page(rows):
    yield "# Networks"
    yield (
        "Networks with random weights as PyTorch and Keras (tf2onnx) export them, analysed by `practised check`, with one block dropped each, and run by the "
        f"executor, the framework and ONNX Runtime {onnxruntime.__version__}. Written by `make zoo`, not by hand."
    )
    yield (
        "*Droppable* is the number of residual additions that can be dropped, with the number from the literature if it is known. The "
        f"differences are those of the executor's outputs, relative to the largest element ({TOLERANCE:.0e} is allowed): from the framework, from ONNX "
        "Runtime, and from ONNX Runtime on the file without the named block, which `onnx.checker` has accepted with its "
        "full check."
    )
    heads = ["network", "family", "export", "additions", "droppable", "from the framework", "from ONNX Runtime", "block dropped", "without it"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        if row.refused:
            cells = [row.network, row.family, row.form, "refused: " + row.refused[:300].replace("|", "\\|"), *[""] * 5]
        else:
            expected = "" if row.expected is None else f" of {row.expected} expected"
            cells = [
                row.network, row.family, row.form, row.additions, f"{row.droppable}{expected}", row.framework, row.onnxruntime, row.dropped, row.without,
            ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    yield "\n".join(lines)
    said = [f"* {row.network}, {row.form}: {'; '.join(row.problems())}" for row in rows if row.problems()]
    yield "## What is not as expected"
    yield "\n".join(said) or "Nothing."


if __name__ == "__main__":
    sys.exit(main())
