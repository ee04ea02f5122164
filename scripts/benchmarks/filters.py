"""Blocks against filters: the same recovery of networks that are equally fast, with whole blocks gone or with channels inside
all blocks gone."""

import json
import tempfile
from pathlib import Path

from cases import draw, example, have_shared, resnet20
from markdown import interval, percent, table, whole

#: Shares of the channels inside the blocks that are tried, from the mildest on.
SHARES = [0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
BATCHES = [1, 32]


def against_filters(store, scale):
    yield (
        "Two blocks chosen and dropped by our job, against channels inside every block (those with the smallest L1 norm, in "
        "multiples of 8), as many as make the network at least as fast in ONNX Runtime at that batch (or the most that were tried). "
        "That is a coarse measure in thin layers, so as many blocks go once more as make the network as fast as the filters did. All "
        "recovered by our recipe with the same number of steps."
    )
    rows = []
    for case, count in [(example(), 200), *([(resnet20(), 500)] if have_shared() else [])]:
        told = store.kept(f"filters-{case.model.stem}-{count}", lambda: measured(store, case, count)) or []
        more = store.kept(f"blocks-as-fast-{case.model.stem}-{count}", lambda: blocks_as_fast(store, case, count, told)) or []
        for row in sorted(told + more, key=lambda row: row["batch"]):
            quality = [percent(row["after"]["agreement"]["value"]), percent(row["after"]["top1"]["student"]["value"])]
            rows.append([case.name, row["batch"], row["what"], interval(row["reduction"]), *quality, whole(row["cpu"])])
    yield table(["network", "batch", "gone", "latency reduction", "agreement %", "top-1 %", "CPU s"], rows)


def measured(store, case, count):
    """One row for blocks and one for filters at each batch."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="practised-bench-") as folder:
        folder = Path(folder)
        images = draw(case.tiny, count, 0, folder)
        told = asked(case) | {"target": {"blocks": 2}}
        job, unrecovered = folder / "job.json", folder / "unrecovered.json"
        job.write_text(json.dumps(told))
        unrecovered.write_text(json.dumps(told | {"finetune": None}))
        of_blocks, student = without_blocks(store, case, images, job, folder / "blocks")
        recovered = {}
        for batch in BATCHES:
            reduction = store.latency(case.model, student, 0, batch)["reduction"]
            rows.append(of_blocks | {"batch": batch, "reduction": reduction})
            share, found = as_fast(store, case, images, unrecovered, folder, batch, reduction["value"])
            if share not in recovered:
                file = folder / f"recovered-{share}.onnx"
                _, cpu, *_ = prune(store, case, images, job, share, file)
                recovered[share] = {"what": f"filters, {share:.3g} kept", "cpu": cpu, "after": store.evaluate(case, file)}
            rows.append(recovered[share] | {"batch": batch, "reduction": found})
    return rows


def blocks_as_fast(store, case, count, told):
    """One row for each of filters: as many blocks as make the network as fast."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="practised-bench-") as folder:
        folder = Path(folder)
        images = draw(case.tiny, count, 0, folder)
        for row in (row for row in told if row["what"].startswith("filters")):
            batch, wanted = row["batch"], row["reduction"]["value"]
            job = folder / f"job-{batch}.json"
            job.write_text(json.dumps(asked(case) | {"target": {"latency_reduction": wanted}, "latency": {"batch": batch}}))
            of_blocks, student = without_blocks(store, case, images, job, folder / f"blocks-{batch}")
            rows.append(of_blocks | {"batch": batch, "reduction": store.latency(case.model, student, 0, batch)["reduction"]})
    return rows


def asked(case):
    return {"seed": 0, "preprocess": json.loads(case.preprocess.read_text())}


def without_blocks(store, case, images, job, folder):
    """What a job brought, and its student."""
    _, cpu, *_ = store.call("compress", case.model, "--images", images, "--job", job, "--out", folder, "--json")
    report, student = json.loads((folder / "report.json").read_text()), folder / "student.onnx"
    return {"what": " + ".join(report["dropped_blocks"]), "cpu": cpu, "after": store.evaluate(case, student)}, student


def as_fast(store, case, images, job, folder, batch, wanted):
    """The mildest share that gains as much, with what it gains."""
    for share in SHARES:
        file = folder / f"pruned-{share}.onnx"
        if not file.exists():
            prune(store, case, images, job, share, file)
        reduction = store.latency(case.model, file, 0, batch)["reduction"]
        if reduction["value"] >= wanted:
            break
    return share, reduction


def prune(store, case, images, job, share, file):
    return store.call("filters", case.model, "--images", images, "--job", job, "--keep", share, "--out", file)
