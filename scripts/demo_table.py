"""Prints the table at the end of scripts/demo from what it downloaded.

    python3 scripts/demo_table.py demo-out --seconds 180

Needs nothing but Python. A figure that a file does not hold is shown as a dash, never guessed.
"""

import argparse
import json
from pathlib import Path

DASH = "–"


def read(folder, name):
    path = folder / name
    return json.loads(path.read_text()) if path.exists() else {}


def dig(value, *keys):
    """Follows keys into nested objects; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def measured(value, show):
    """Formats a figure that is either a number or {"value", "low", "high"} with a 95 % interval."""
    if value is None:
        return DASH
    if not isinstance(value, dict):
        return show(value)
    text = show(value["value"])
    if value.get("low") is None or value.get("high") is None:
        return text
    return f"{text} [{show(value['low'])}, {show(value['high'])}]"


def percent(value):
    return f"{100 * value:.1f} %"


def milliseconds(value):
    return f"{value:.3f} ms"


def loss(value):
    return f"{value:.4f}"


def count(value):
    return f"{value:,.0f}"


def seconds(value):
    return f"{value:.1f} s"


def block_rows(report):
    additions = report.get("blocks") or []
    dropped = report.get("dropped_blocks") or []
    droppable = sum(bool(block.get("droppable")) for block in additions)
    yield ("residual blocks", count(len(additions)), "", count(len(additions) - len(dropped)))
    yield ("dropped", f"of {droppable} droppable", "", ", ".join(dropped) or "none")
    for name in ("parameters", "macs", "bytes"):
        before, after = (dig(report, "size", who, name) for who in ("teacher", "student"))
        yield (name.replace("macs", "multiply-adds"), measured(before, count), "", measured(after, count))


def latency_rows(report):
    for name in ("median_ms", "p90_ms"):
        before, after = (dig(report, "latency", who, name) for who in ("teacher", "student"))
        what = name.removesuffix("_ms")
        yield (f"latency, {what}", measured(before, milliseconds), "", measured(after, milliseconds))
    yield ("latency reduction [95 %]", "", "", measured(dig(report, "latency", "reduction"), percent))


def quality_rows(report, before, after):
    quality = report.get("quality") or {}
    unrecovered = quality.get("before_finetune")
    held_out = f"{dig(quality, 'images', 'held_out') or '?'} held-out images"
    test = f"{measured(after.get('images'), count)} test images"
    yield (
        f"agreement, {held_out}",
        "",
        measured(dig(unrecovered, "agreement"), percent),
        measured(quality.get("agreement"), percent),
    )
    yield (
        f"feature loss, {held_out}",
        "",
        measured(dig(unrecovered, "feature_loss"), loss),
        measured(quality.get("feature_loss"), loss),
    )
    yield (
        f"agreement, {test}",
        "",
        measured(before.get("agreement"), percent),
        measured(after.get("agreement"), percent),
    )
    yield (
        f"top-1, {test}",
        measured(dig(after, "top1", "teacher"), percent),
        measured(dig(before, "top1", "student"), percent),
        measured(dig(after, "top1", "student"), percent),
    )


def latency_line(report):
    latency = report.get("latency") or {}
    known = {name: latency.get(name, "?") for name in ("engine", "device", "batch", "threads", "basis", "pairs", "rounds")}
    return "latency {engine} on {device}, batch {batch}, threads {threads}, {basis} time, {pairs} pairs in {rounds} rounds".format(
        **known
    )


def time_lines(report, demo_seconds):
    cost = report.get("cost") or {}
    phases = [f"{name} {measured(value, seconds)}" for name, value in (cost.get("phases") or {}).items()]
    yield f"job     {measured(cost.get('wall_seconds'), seconds)}: " + (", ".join(phases) or DASH)
    yield f"demo    {demo_seconds} s with start, uploads, evaluation and end of the service"


def print_columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    rule = "  ".join("─" * width for width in widths)
    print(rule)
    for number, row in enumerate(rows):
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths))
        print("  ".join([first, *others]).rstrip())
        if number == 0:
            print(rule)
    print(rule)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the demo put its files")
    parser.add_argument("--seconds", type=int, required=True, help="wall time of the whole demo")
    args = parser.parse_args()

    report = read(args.folder, "report.json")
    before = read(args.folder, "evaluation_before_finetune.json")
    after = read(args.folder, "evaluation.json")

    print()
    print_columns(
        [
            ("", "teacher", "student before recovery", "student after recovery"),
            *block_rows(report),
            *latency_rows(report),
            *quality_rows(report, before, after),
        ]
    )
    print(f"outcome {report.get('outcome', DASH)}")
    for warning in report.get("warnings") or []:
        print(f"warning {warning.get('detail')}")
    print(latency_line(report))
    for line in time_lines(report, args.seconds):
        print(line)
    print("files   " + ", ".join(sorted(f"{args.folder}/{path.name}" for path in args.folder.glob("[!.]*"))))


if __name__ == "__main__":
    main()
