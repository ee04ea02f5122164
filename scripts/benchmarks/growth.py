"""How the cost of a job grows with the number of images, their size and the network's depth."""

from dataclasses import replace

from cases import ROOT, example
from markdown import COST, cost, spread, table, whole
from store import Images, Request

STEPS = 60
HOW = "python3 examples/fashion-mnist/train.py --epochs 0 --blocks {blocks} --size {size} --out bench-out/{name}"


def growth(store, scale):
    yield (
        f"Our whole job, k = 2, {STEPS} steps (64 views each, 50 with few images; 16 above 96 × 96). Larger images and deeper "
        "networks are tried on untrained networks of the example's form, because no trained ones are at hand: what is computed is "
        "the same, what comes out is not, so quality is left out."
    )
    asked = [asking(example(), 28, count) for count in ([10, 50, 200, 1000] if scale.full else [10, 200])]
    if scale.full:
        asked += [untrained(3, size) for size in (28, 56, 112, 224)] + [untrained(blocks, 28) for blocks in (9, 18)]
    missing = [how for how in asked if isinstance(how, str)]
    if missing:
        yield "Left out, because these networks are not there: " + "; ".join(f"`{how}`" for how in missing) + "."
    requests = [request for request in asked if not isinstance(request, str)]
    rows = [row(request, result) for request, result in zip(requests, store.run(requests))]
    yield table(["network", "blocks that may go", "images", "size", "measure s", "select s", *COST], rows)


def untrained(blocks, size):
    """A job on an untrained network, or how the network is made that it needs."""
    name = f"untrained-{6 * blocks + 2}-{size}.onnx"
    model = ROOT / "bench-out" / name
    if not model.exists():
        return HOW.format(blocks=blocks, size=size, name=name)
    return asking(replace(example(), name=f"ResNet-{6 * blocks + 2}, untrained", model=model), size, 200)


def asking(case, size, count):
    # Quality is not asked for: the labelled images may well be fitted on where more are needed than the tiny set holds.
    source = case.test if count > len(case) else case.tiny
    job = {"target": {"blocks": 2}, "finetune": {"steps": STEPS}, "seed": 0}
    return Request(case, Images(count, 0, source), job, {"resize": size, "crop": size}, quality=False)


def row(request, result):
    droppable = len(result.droppable) if result else ""
    told = [spread([result], lambda r, phase=phase: r.seconds(phase), whole) for phase in ("measure", "select")]
    size = request.preprocess["crop"]
    return [request.case.name, droppable, request.images.count, f"{size} × {size}", *told, *cost([result])]
