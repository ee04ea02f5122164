"""Recovery: whole jobs side by side, the same blocks recovered in several ways (table 1), and few images."""

from cases import deep, example, have_shared, lite0, resnet20
from markdown import COST, QUALITY, as_dropped, cost, median, quality, reduction, runs, sets, spread, table, whole
from store import Images, Request

PAPER = {"recoverability": {"method": "adapters"}, "finetune": {"recipe": "paper"}}


def whole_jobs(store, scale):
    """The paper's method from its ranking to its last step, and ours, each choosing its own blocks."""
    yield "Whole jobs: every block ranked, two dropped, the student recovered. The ratio is in CPU seconds."
    cases = [example()]
    if have_shared():
        cases = [resnet20(), resnet20(kept=True)] if scale.full else [resnet20()]
    asked = [("**ours**", {}), ("ours, twice the time", {"finetune": {"steps": 1800}}), paper_job(scale)]
    groups = {case.name: [] for case in cases}
    # The paper's takes far longer than all others together: last.
    for _, job in asked:
        for case in cases:
            jobs = [{"target": {"blocks": 2}, "seed": seed} | job for seed in scale.seeds]
            groups[case.name].append(store.run([Request(case, Images.of(case, 500), job) for job in jobs]))
    for name, of_case in groups.items():
        paper = of_case[-1]
        rows = [
            [method, runs(group), sets(group), *quality(group), *cost(group), cheaper(paper, group)]
            for (method, _), group in zip(asked, of_case)
        ]
        yield f"### {name}, 500 images"
        yield table(["method", "seeds", "dropped", *QUALITY, *COST, "times cheaper"], rows)


def paper_job(scale):
    if scale.full:
        return f"paper, 1,000 iterations a block, {scale.paper_steps:,} steps", PAPER
    recoverability = {"method": "adapters", "iterations": scale.iterations}
    job = {"recoverability": recoverability, "finetune": {"recipe": "paper", "steps": scale.paper_steps}}
    return f"paper, {scale.iterations:,} iterations a block, {scale.paper_steps:,} steps", job


def cheaper(paper, group):
    if paper is group or not any(paper) or not any(group):
        return ""
    return f"{median(paper, lambda r: r.cpu) / median(group, lambda r: r.cpu):.1f}"


def large_images(store, scale):
    """EfficientNet-Lite0 at 224 × 224."""
    if not have_shared():
        yield "Skipped: no ../shared."
        return
    yield "Our whole job on 200 photos, k = 2, beside the plain drop."
    rows = []
    for case in [lite0(), lite0(kept=True)]:
        seeds = scale.seeds if scale.full else range(1)
        group = store.run([
            Request(case, Images.of(case, 200), {"target": {"blocks": 2}, "seed": seed}) for seed in seeds
        ])
        rows.append([case.name, "nothing", runs(group), sets(group), *as_dropped(group), *[""] * len(COST)])
        rows.append([case.name, "**ours**", runs(group), sets(group), *quality(group), *cost(group)])
    yield table(["network", "method", "seeds", "dropped", *QUALITY, *COST], rows)


def methods(case, scale):
    # A step at 224 × 224 takes some 5 s: all 2,000 would take three hours a row.
    steps = min(scale.paper_steps, 400) if case.large else scale.paper_steps
    return [
        ("refit only", {"recipe": "practised", "steps": 0}),
        (f"paper, {steps:,} steps", {"recipe": "paper", "steps": steps}),
        (f"paper + mixing, {steps:,} steps", {"recipe": "paper", "steps": steps, "mixing": True}),
        ("ours without mixing", {"mixing": False}),
        ("ours without hints", {"hints": False}),
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
    droppable = first.droppable
    asked = [
        forced(case, Images.of(case, count, seed), first.dropped, droppable, seed, finetune)
        for _, finetune in methods(case, scale)
        for seed in seeds
    ]
    results = store.run(asked + default[1:])
    rows = []
    for at, (name, _) in enumerate(methods(case, scale)):
        group = results[at * len(seeds) : (at + 1) * len(seeds)]
        if not rows:
            rows.append([count, k, "nothing", runs(group), *as_dropped(group), *[""] * len(COST)])
        rows.append([count, k, name, runs(group), *quality(group), *cost(group)])
    text = f"{count} images, k = {k}: {sets([first])}, {reduction(first)} faster in ONNX Runtime at batch 1."
    return text, rows


def table1(store, scale):
    yield (
        "The same blocks recovered in several ways: those that our job with the first seed chose. Every row scores the blocks "
        "that may go in closed form, which is in its seconds."
    )
    plan = [(example(), [200], [2])]
    if have_shared():
        plan = [(resnet20(), [500], [2])]
    if scale.full:
        plan = [(example(), [200, 10], [2])]
        if have_shared():
            plan += [(resnet20(), [500, 50, 10], [1, 2, 3]), (lite0(), [200, 50, 10], [2])]
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


def credit(store, scale):
    """What each part of our recipe brings."""
    case = resnet20() if have_shared() else example()
    count = 500 if have_shared() else 200
    yield (
        f"{case.name}, {count} images, the two blocks that our job with the first seed chose: our recipe with each of its parts left "
        "out in turn. Without the start the weights are those of the plain drop, without Muon the paper's SGD moves them, without "
        "BatchNormalization the folded network is trained as it came."
    )
    asked = [
        ("**ours**", {}),
        ("without mixing", {"mixing": False}),
        ("without hints", {"hints": False}),
        ("without the refitted start", {"leave_out": ["start"]}),
        ("without Muon", {"leave_out": ["optimiser"]}),
        ("without BatchNormalization", {"leave_out": ["batch_norm"]}),
        ("in float32", {"precision": "float32"}),
        ("none of mixing, hints, start, Muon, BatchNormalization", {
            "mixing": False, "hints": False, "leave_out": ["start", "optimiser", "batch_norm"],
        }),
    ]
    chosen = store.one(Request(case, Images.of(case, count), {"target": {"blocks": 2}, "seed": 0}))
    if chosen is None:
        yield "Not run."
        return
    droppable = chosen.droppable
    rows = []
    for name, finetune in asked:
        jobs = [forced(case, Images.of(case, count, seed), sorted(chosen.dropped), droppable, seed, finetune) for seed in scale.seeds]
        group = store.run(jobs)
        rows.append([name, runs(group), *quality(group), *cost(group)])
    yield table(["recipe", "seeds", *QUALITY, *COST], rows)


def few_images(store, scale):
    """Draws of 50 and of 10 images, and a hard set of blocks."""
    case = resnet20() if have_shared() else example()
    yield f"{case.name}: our whole job, k = 2, on draws of few images."
    rows = []
    for count in (50, 10):
        group = store.run([
            Request(case, Images.of(case, count, draw), {"target": {"blocks": 2}, "seed": draw}) for draw in scale.draws
        ])
        rows.append([count, runs(group), sets(group), *quality(group), *cost(group)])
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
        ("ours, twice the time", {"steps": 1800}),
    ]
    for name, finetune in asked:
        group = store.run([forced(case, Images.of(case, 500, seed), keep, droppable, seed, finetune) for seed in scale.seeds])
        rows.append([name, runs(group), *quality(group), *cost(group)])
    yield table(["method", "seeds", *QUALITY, *COST], rows)


def deep_network(store, scale):
    case = deep()
    if not case.model.exists():
        yield f"Skipped: no {case.model.name} under bench-out; examples/fashion-mnist/train.py says how it is made."
        return
    yield (
        f"{case.name}: 27 residual blocks, 25 with an identity shortcut; 200 images, 8 blocks chosen and dropped by our job, then "
        "the same blocks recovered by the paper's recipe. The loss on the way is that of the paper's run after the same seconds of "
        "training, on its full schedule."
    )
    wish = {"target": {"blocks": 8}, "seed": 0}
    chosen = store.one(Request(case, Images.of(case, 200), wish))
    if chosen is None:
        yield "Not run."
        return
    droppable = chosen.droppable
    asked = [
        ("refit only", {"steps": 0}),
        (f"paper, {scale.paper_steps:,} steps", {"recipe": "paper", "steps": scale.paper_steps}),
        ("**ours**", {}),
        ("ours, 900 steps", {"steps": 900}),
        ("ours, 900 steps, without hints", {"steps": 900, "hints": False}),
    ]
    groups = [
        [result]
        for result in store.run([
            forced(case, Images.of(case, 200), chosen.dropped, droppable, 0, finetune) for _, finetune in asked
        ])
    ]
    paper = groups[1][0]
    rows = [["nothing", gone(groups[0]), *as_dropped(groups[0]), "", *[""] * len(COST)]]
    for (name, _), group in zip(asked, groups):
        rows.append([name, gone(group), *quality(group), on_the_way(paper, group[0]), *cost(group)])
    yield f"Dropped: {sets([chosen])}; {reduction(chosen)} faster. The whole job: {', '.join(quality([chosen]))}; {chosen.cpu:.0f} CPU s."
    yield table(["method", "blocks gone", *QUALITY, "paper on the way", *COST], rows)


def gone(results):
    """How many blocks went: one whose gain disappears in the noise of its own job stays."""
    return spread(results, lambda result: len(result.dropped), whole)


def on_the_way(paper, ours):
    """The paper's loss after as many seconds as ours took."""
    if not paper or not ours or paper is ours:
        return ""
    history = paper.report["finetune"]["history"]
    seen = [point["loss"] for point in history if point["seconds"] <= ours.seconds("finetune")]
    return f"{seen[-1]:.3f}" if seen else ""
