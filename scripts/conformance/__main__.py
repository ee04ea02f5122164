"""Runs the executor on ONNX's own backend tests and writes docs/operators.md.

    python3 scripts/conformance [--binary target/release/practised] [--out docs/operators.md]

The cases come from the PyPI wheel `onnx`, in a virtual environment of their own (`make conformance` makes it): the node tests
that its Python cases generate, data/pytorch-operator, data/pytorch-converted, data/simple, and the networks in data/light with
their expected outputs. A case passes when every output is within what ONNX's own runner allows (a share of 1e-3 and 1e-7; outputs in
half precision, which the executor computes in 32 bits, within what rounding explains). Exit code 1 where a case fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import onnx

import cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = "https://onnx.ai/onnx/operators/onnx__{}.html"
#: Cases in one run of the binary.
BATCH = 200


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "target/release/practised", type=Path)
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N; the page is written for the CPU alone")
    parser.add_argument("--out", default=ROOT / "docs/operators.md", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="practised-conformance-") as folder:
        suites = {name: run([args.binary, "conformance", "--device", args.device], found) for name, found in cases.write_all(folder).items()}
    known = subprocess.run([args.binary, "conformance", "--operators"], capture_output=True, text=True, check=True)
    if args.device == "cpu":
        args.out.write_text("\n\n".join(page(suites, known.stdout.split())) + "\n")
        print(f"wrote {args.out}")
    for name, outcomes in suites.items():
        print(f"{name}: {counted(outcomes)}")
    failed = [told for outcomes in suites.values() for told in outcomes if told["outcome"] == "failed"]
    for told in failed:
        print(f"failed: {told['case']}: {told['detail']}", file=sys.stderr)
    return 1 if failed else 0


def run(command, found):
    outcomes = []
    for at in range(0, len(found), BATCH):
        part = [str(case) for case in found[at : at + BATCH]]
        done = subprocess.run([*command, *part], capture_output=True, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes += lines
        if len(lines) < len(part):
            name = Path(part[len(lines)]).name
            outcomes.append({"case": name, "operators": [], "outcome": "failed", "detail": f"it ended the process: {done.stderr[-300:]}"})
            outcomes += run(command, [Path(case) for case in part[len(lines) + 1 :]])
    return outcomes


def counted(outcomes):
    count = Counter(told["outcome"] for told in outcomes)
    return f"{count['passed']} passed, {count['not_supported']} not supported, {count['failed']} failed"


def page(suites, known):
    yield "# Operators"
    yield (
        "ONNX operators that the executor supports, measured by `make conformance` on the backend tests of "
        f"[onnx](https://pypi.org/project/onnx/) {onnx.__version__}. Written by `scripts/conformance`, not by hand. In addition, every operator "
        "is compared with ONNX Runtime on networks of one node, to 1e-5 of the output's scale (`tests/it/operators`)."
    )
    rows = [[name, len(outcomes), *parts(outcomes)] for name, outcomes in suites.items()]
    everything = [told for outcomes in suites.values() for told in outcomes]
    rows.append(["**all**", len(everything), *parts(everything)])
    yield table(["suite", "cases", "passed", "not supported", "failed"], rows)
    yield (
        "A case counts for the operator that it is named after (a node test) or, in the networks, for each one that it contains. The error is "
        "the largest of the passed node tests, relative to the output's largest element. Opsets are those in which the operator "
        "changed; all of them are supported."
    )
    of_operator = by_operator(suites["node"])
    networks = Counter(
        name for suite, outcomes in suites.items() if suite != "node" for told in outcomes if told["outcome"] == "passed" for name in told["operators"]
    )
    yield "## Supported operators"
    heads = ["operator", "opsets", "passed", "not supported", "failed", "largest error", "in networks that passed"]
    yield table(heads, [supported(name, of_operator.get(name, []), networks[name]) for name in sorted(known)])
    yield "## Unsupported variants"
    yield table(["operator", "reason", "cases"], partly(known, of_operator))
    yield "## Unsupported operators"
    yield ", ".join(sorted(set(of_operator) - set(known))) + "."


def parts(outcomes):
    count = Counter(told["outcome"] for told in outcomes)
    return [count["passed"], count["not_supported"], count["failed"]]


def by_operator(outcomes):
    """Node tests by the operator that they test: the one in them, or the one that an expansion into others is named after."""
    known = {name.lower(): name for name in (schema.name for schema in onnx.defs.get_all_schemas())}
    found = defaultdict(list)
    for told in outcomes:
        if told["case"].endswith("_expanded") or "_expanded_" in told["case"]:
            continue
        names = told["operators"] if len(told["operators"]) == 1 else named(told["case"], known)
        for name in names:
            found[name].append(told)
    return found


def named(case, known):
    words = case.removeprefix("test_").split("_")
    tries = ("".join(words[:end]).lower() for end in range(len(words), 0, -1))
    return [known[name] for name in tries if name in known][:1]


def supported(name, outcomes, in_networks):
    errors = [told["error"] for told in outcomes if told["outcome"] == "passed"]
    return [f"[{name}]({PAGE.format(name)})", opsets(name), *parts(outcomes), f"{max(errors):.1e}" if errors else "", in_networks or ""]


def opsets(name):
    versions = sorted({schema.since_version for schema in onnx.defs.get_all_schemas_with_history() if schema.name == name and not schema.domain})
    return ", ".join(map(str, versions))


def partly(known, of_operator):
    rows = []
    for name in sorted(known):
        reasons = Counter(
            reason(told["detail"]) for told in of_operator.get(name, []) if told["outcome"] == "not_supported"
        )
        rows += [[name, text, count] for text, count in sorted(reasons.items())]
    return rows


def reason(detail):
    """Without the names of nodes, tensors and files."""
    text = detail.split("): ", 1)[-1] if detail.startswith("node ") else detail.split(".pb: ", 1)[-1]
    return text.split("; node ")[0].replace('tensor "value": ', "").replace("|", "\\|")


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


if __name__ == "__main__":
    sys.exit(main())
