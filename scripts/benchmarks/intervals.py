"""Whether the intervals that reports give hold what they promise."""

import statistics

from cases import example, have_shared, resnet20
from markdown import percent, table
from store import Images, Request


def coverage(store, scale):
    case, count = (resnet20(), 200) if have_shared() else (example(), 100)
    jobs = scale.interval_jobs
    yield (
        f"{case.name}: {jobs} jobs, each on its own draw of {count} images with its own seed, k = 1 or 2, 40 steps. A report's 95 % "
        "interval of the agreement, over its held-out images, against the agreement on labelled images that no job has seen; its "
        "interval of the latency reduction against another measurement of the same two files after the job. That is shorter and has "
        "noise of its own, so the interval stands as well against the median of all measurements, during and after their jobs, of "
        "students without the same blocks."
    )
    requests = [
        Request(
            case, Images(count, seed), {"target": {"blocks": 1 + seed % 2}, "seed": seed, "finetune": {"steps": 40}}, latency=True
        )
        for seed in range(jobs)
    ]
    results = store.run(requests)
    if None in results:
        yield "Not run."
        return
    agreement = [(result.report["quality"]["agreement"], result.agreement) for result in results]
    reduction = [(result.report["latency"]["reduction"], result.latency["reduction"]["value"]) for result in results]
    rows = [row("agreement", agreement), row("latency reduction", reduction), row("latency reduction, against all", against_all(results))]
    same = store.same_file(case, jobs)
    if same is not None:
        rows.append(row("A/A: latency reduction of a network against itself", [(figure, 0.0) for figure in same]))
    yield table(["interval", "jobs", "contain the value", "below it", "above it", "median width, points"], rows)
    if same is not None:
        claimed = sum(figure["low"] > 0 for figure in same)
        yield f"A gain was claimed (an interval above 0) in {claimed} of {len(same)} measurements of a network against itself."


def against_all(results):
    """Each job's interval with the median of all measurements of students without the same blocks, its own left out."""
    measured = {}
    for result in results:
        values = [result.report["latency"]["reduction"]["value"], result.latency["reduction"]["value"]]
        measured.setdefault(frozenset(result.dropped), []).append(values)
    pairs = []
    for result in results:
        figure = result.report["latency"]["reduction"]
        others = [value for values in measured[frozenset(result.dropped)] if values[0] != figure["value"] for value in values]
        if others:
            pairs.append((figure, statistics.median(others)))
    return pairs


def row(name, pairs):
    inside = sum(figure["low"] <= value <= figure["high"] for figure, value in pairs)
    below = sum(figure["high"] < value for figure, value in pairs)
    widths = sorted(figure["high"] - figure["low"] for figure, _ in pairs)
    share = f"{inside} ({percent(inside / len(pairs))} %)"
    return [name, len(pairs), share, below, len(pairs) - inside - below, percent(widths[len(widths) // 2])]
