"""Figure 3: what the score of a block says about the loss that is left after fine-tuning without it."""

from cases import ROOT, example, have_shared, lite0, resnet20
from figure import scatter
from markdown import loss, table
from recovery import forced, paper_job
from store import Images, Request

FIGURE = "docs/figure-3.svg"


def deciding(losses):
    return losses.get("held_out") if losses.get("held_out") is not None else losses["fit"]


def ranks(values):
    """Ranks from 1; equal values share the mean of theirs."""
    ordered = sorted(values)
    return [(ordered.index(value) + 1 + len(ordered) - ordered[::-1].index(value)) / 2 for value in values]


def spearman(a, b):
    """Spearman's rank correlation."""
    a, b = ranks(a), ranks(b)
    mean = (len(a) + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b))
    spread = (sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)) ** 0.5
    return covariance / spread if spread else float("nan")


def scored(store, case, images, job):
    """Every block's recoverability and its loss as dropped, by name; nothing where the job has not been run."""
    result = store.one(Request(case, images, job))
    if result is None:
        return {}
    rows = [block for block in result.report["blocks"] if block.get("recoverability")]
    return {row["name"]: row["recoverability"] for row in rows}


def figure3(store, scale):
    yield (
        "Recoverability of each block against the held-out loss after our recipe has recovered the network without it, and their "
        f"rank agreement (Spearman). Drawn in [{FIGURE}]({FIGURE})."
    )
    # The paper's adapters take hours on large images, and the first half of our steps brings nearly all.
    plan = [(example(), 200, True, {})]
    if have_shared():
        plan = [(resnet20(), 500, True, {}), *([(lite0(), 200, False, {"steps": 60})] if scale.full else [])]
    panels = []
    for case, count, with_adapters, finetune in plan:
        yield f"### {case.name}, {count} images" + (f", {finetune['steps']} steps" if finetune else "")
        images = Images.of(case, count)
        closed = scored(store, case, images, {"target": {"blocks": 2}, "seed": 0})
        names = list(closed)
        recovered = store.run([forced(case, images, [name], names, 0, finetune) for name in names])
        if not names or None in recovered:
            yield "Not run."
            continue
        truth = [result.loss for result in recovered]
        scores = {"nothing": [deciding(closed[name]["plain"]) for name in names]}
        # The same jobs as in the first section.
        adapters = with_adapters and scored(store, case, images, {"target": {"blocks": 2}, "seed": 0} | paper_job(scale)[1])
        if adapters:
            scores[f"adapters, {scale.iterations:,} iterations"] = [deciding(adapters[name]) for name in names]
        scores["closed form"] = [deciding(closed[name]) for name in names]
        rows = [
            [name.split("/")[-1], *(loss(values[at]) for values in scores.values()), loss(truth[at])]
            for at, name in enumerate(names)
        ]
        agreement = [f"{spearman(values, truth):.2f}" for values in scores.values()]
        yield table(["block", *scores, "after fine-tuning"], [*rows, ["**rank agreement**", *agreement, ""]])
        panels += [(f"{case.name}: {name} ({rank})", values, truth) for (name, values), rank in zip(scores.items(), agreement)]
    if panels:
        (ROOT / FIGURE).write_text(scatter(panels, 3, "recoverability", "loss after fine-tuning"))
