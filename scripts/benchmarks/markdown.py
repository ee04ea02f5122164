"""Tables of medians."""

import statistics

NOT_RUN = "not run"
#: Marks what an earlier build has run.
EARLIER = "†"


def percent(share):
    return f"{100 * share:.1f}"


def loss(value):
    return f"{value:.3f}"


def whole(value):
    return f"{value:.0f}"


def spread(results, read, show):
    """The median over the results that there are, with the least and the most where there are several."""
    values = sorted(read(result) for result in results if result)
    if not values:
        return NOT_RUN
    middle = show(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({show(values[0])}–{show(values[-1])})"


def median(results, read):
    return statistics.median(read(result) for result in results if result)


def table(heads, rows):
    """Rows of what has not been run are left out."""
    rows = [row for row in rows if NOT_RUN not in row]
    if not rows:
        return "Not run."
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


QUALITY = ["agreement %", "top-1 %", "feature loss"]
COST = ["score s", "finetune s", "CPU s", "wall s", "peak MiB"]


def quality(results):
    return [
        spread(results, lambda r: r.agreement, percent),
        spread(results, lambda r: r.top1, percent),
        spread(results, lambda r: r.loss, loss),
    ]


def as_dropped(results):
    return [
        spread(results, lambda r: r.before["agreement"]["value"], percent),
        spread(results, lambda r: r.before["top1"]["student"]["value"], percent),
        spread(results, lambda r: r.report["quality"]["before_finetune"]["feature_loss"], loss),
    ]


def cost(results):
    mark = EARLIER if any(result and result.earlier for result in results) else ""
    return [
        spread(results, lambda r: r.seconds("score"), whole),
        spread(results, lambda r: r.seconds("finetune"), whole),
        mark + spread(results, lambda r: r.cpu, whole),
        spread(results, lambda r: r.wall, whole),
        spread(results, lambda r: r.peak / 2**20, whole),
    ]


def sets(results):
    """The sets that were dropped, each once."""
    there = [result.dropped for result in results if result]
    return "; ".join(dict.fromkeys(" + ".join(name.split("/")[-1] for name in sorted(names)) for names in there)) or NOT_RUN


def runs(results):
    """How many there are, and of how many where some have not been run."""
    there = sum(result is not None for result in results)
    return str(there) if there == len(results) else f"{there} of {len(results)}"


def reduction(result):
    return interval(result.report["latency"]["reduction"])


def interval(figure):
    """A share with its 95 % interval."""
    return f"{percent(figure['value'])} % [{percent(figure['low'])}, {percent(figure['high'])}]"
