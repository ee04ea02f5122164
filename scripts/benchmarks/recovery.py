"""Recovery: whole jobs side by side, the same blocks recovered in several ways (table 1), and few images."""

from cases import example, have_shared, lite0, resnet20
from markdown import COST, QUALITY, as_dropped, cost, median, quality, reduction, sets, spread, table
from store import Images, Request

PAPER = {"recoverability": {"method": "adapters"}, "finetune": {"recipe": "paper"}}


def whole_jobs(store, scale):
    """The paper's method from its ranking to its last step, and ours, each choosing its own blocks."""
    yield "Whole jobs: every block ranked, two dropped, the student recovered. The ratio is in CPU seconds."
    cases = [resnet20(), resnet20(kept=True)] if scale.full and have_shared() else [resnet20() if have_shared() else example()]
    for case in cases:
        images = Images.of(case, 500)
        paper = PAPER if scale.full else {
            "recoverability": {"method": "adapters", "iterations": 100},
            "finetune": {"recipe": "paper", "steps": scale.paper_steps},
        }
        asked = [(f"paper, {'1,000' if scale.full else '100'} iterations a block, {scale.paper_steps:,} steps", paper)]
        asked += [("**ours**", {}), ("ours, twice the steps", {"finetune": {"steps": 600}})]
        requests = [
            Request(case, images, {"target": {"blocks": 2}, "seed": seed} | job) for _, job in asked for seed in scale.seeds
        ]
        results = store.run(requests)
        groups = [results[at : at + len(scale.seeds)] for at in range(0, len(results), len(scale.seeds))]
        rows = []
        for (name, _), group in zip(asked, groups):
            there = [result for result in group if result]
            ratio = ""
            if there and group is not groups[0] and all(groups[0]):
                ratio = f"{median(groups[0], lambda r: r.cpu) / median(there, lambda r: r.cpu):.1f}"
            rows.append([name, len(group), sets(group), *quality(group), *cost(group), ratio])
        yield f"### {case.name}, 500 images"
        yield table(["method", "seeds", "dropped", *QUALITY, *COST, "cheaper"], rows)


def methods(scale):
    return [
        ("refit only", {"recipe": "practised", "steps": 0}),
        (f"paper, {scale.paper_steps:,} steps", {"recipe": "paper", "steps": scale.paper_steps}),
        (f"paper + mixing, {scale.paper_steps:,} steps", {"recipe": "paper", "steps": scale.paper_steps, "mixing": True}),
        ("ours without mixing", {"mixing": False}),
        ("**ours**", {}),
    ]


def forced(case, images, keep, droppable, seed, finetune):
    others = [name for name in droppable if name not in keep]
    job = {"target": {"blocks": len(keep)}, "exclude_blocks": others, "seed": seed, "finetune": finetune}
    return Request(case, images, job)


def same_blocks(store, case, count, k, seeds, scale):
    """One set of blocks, as our job with the first seed chooses it, recovered in several ways."""
    default = [Request(case, Images.of(case, count, seed), {"target": {"blocks": k}, "seed": seed}) for seed in seeds]
    first = store.one(default[0])
    if first is None:
        return None, None
    droppable = [block["name"] for block in first.report["blocks"] if block["droppable"]]
    asked = [
        forced(case, Images.of(case, count, seed), first.dropped, droppable, seed, finetune)
        for _, finetune in methods(scale)
        for seed in seeds
    ]
    results = store.run(asked + default[1:])
    rows = []
    for at, (name, _) in enumerate(methods(scale)):
        group = results[at * len(seeds) : (at + 1) * len(seeds)]
        if not rows:
            rows.append([count, k, "nothing", len(seeds), *as_dropped(group), *[""] * len(COST)])
        rows.append([count, k, name, len(seeds), *quality(group), *cost(group)])
    text = f"{count} images, k = {k}: {sets([first])}, {reduction(first)} faster in ONNX Runtime at batch 1."
    return text, rows


def table1(store, scale):
    yield (
        "The same blocks recovered in several ways: those that our job with the first seed chose. Every row scores the blocks "
        "that may go in closed form, which is in its seconds."
    )
    plan = [(example(), [200, 10], [2])]
    if have_shared():
        plan.append((resnet20(), *(([500, 50, 10], [1, 2, 3]) if scale.full else ([500, 10], [2]))))
        if scale.full:
            plan.append((lite0(), [200, 50, 10], [2]))
    for case, counts, ks in plan:
        yield f"### {case.name}"
        texts, rows = [], []
        for k in ks:
            for count in counts:
                text, more = same_blocks(store, case, count, k, scale.seeds, scale)
                if text is None:
                    continue
                texts.append(text)
                rows += more
        if rows:
            yield " ".join(texts)
            yield table(["images", "k", "method", "seeds", *QUALITY, *COST], rows)
        else:
            yield "Not run."


def few_images(store, scale):
    """Draws of 50 and of 10 images, and a hard set of blocks."""
    case = resnet20() if have_shared() else example()
    yield f"{case.name}: our whole job, k = 2, on draws of few images."
    rows = []
    for count in (50, 10):
        group = store.run([
            Request(case, Images.of(case, count, draw), {"target": {"blocks": 2}, "seed": draw}) for draw in scale.draws
        ])
        rows.append([count, len(group), sets(group), *quality(group), *cost(group)])
    yield table(["images", "draws", "dropped", *QUALITY, *COST], rows)


def hard_set(store, scale):
    case = resnet20()
    if not have_shared():
        yield "Skipped: no ../shared."
        return
    yield f"{case.name}, 500 images, layer1.1 + layer3.2 forced by `exclude_blocks`: a set that is hard to recover."
    keep = ["layer1.1", "layer3.2"]
    droppable = ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"]
    rows = []
    asked = [
        (f"paper, {scale.paper_steps:,} steps", {"recipe": "paper", "steps": scale.paper_steps}),
        ("**ours**", {}),
        ("ours, twice the steps", {"steps": 600}),
    ]
    for name, finetune in asked:
        group = store.run([forced(case, Images.of(case, 500, seed), keep, droppable, seed, finetune) for seed in scale.seeds])
        rows.append([name, len(group), *quality(group), *cost(group)])
    yield table(["method", "seeds", *QUALITY, *COST], rows)
