"""How the cost of a job grows with the number of images, their size and the network's depth."""

from dataclasses import replace

from cases import ROOT, example
from markdown import COST, cost, spread, table, whole
from store import Images, Request

STEPS = 60
HOW = "python3 examples/fashion-mnist/train.py --epochs 0 --blocks {blocks} --size {size} --out bench-out/{name}"


def growth(store, scale):
    yield (
        f"Our whole job, k = 2, {STEPS} steps (64 views each; 16 above 96 × 96), on untrained networks of ResNet-20's form and "
        "deeper ones, 16 channels in the first stage: what is computed is the same as in a trained one, what comes out is not, so "
        "quality is left out. Untrained because none is at hand at these sizes."
    )
    counts = [10, 50, 200, 1000] if scale.full else [10, 200]
    sizes = [28, 56, 112, 224] if scale.full else [28, 56]
    depths = [3, 9, 18] if scale.full else [3]
    # One at a time: what stands in one row must not depend on its neighbour.
    rows = [
        *[row(store, 3, 28, count) for count in counts],
        *[row(store, 3, size, 200) for size in sizes[1:]],
        *[row(store, blocks, 28, 200) for blocks in depths[1:]],
    ]
    missing = [found for found in rows if isinstance(found, str)]
    if missing:
        yield "Left out, because these networks are not there: " + "; ".join(f"`{how}`" for how in dict.fromkeys(missing)) + "."
    heads = ["network", "blocks that may go", "images", "size", "measure s", "select s", *COST]
    yield table(heads, [found for found in rows if not isinstance(found, str)])


def row(store, blocks, size, count):
    """A row, or how the network is made that it needs."""
    name = f"untrained-{6 * blocks + 2}-{size}.onnx"
    model = ROOT / "bench-out" / name
    if not model.exists():
        return HOW.format(blocks=blocks, size=size, name=name)
    # Labels are not asked for: `test` holds more images than the tiny set.
    case = replace(example(), name=f"ResNet-{6 * blocks + 2}", model=model)
    source = case.test if count > len(case) else case.tiny
    job = {"target": {"blocks": 2}, "finetune": {"steps": STEPS}, "seed": 0}
    request = Request(case, Images(count, 0, source), job, {"resize": size, "crop": size}, quality=False)
    result = store.one(request)
    droppable = sum(block["droppable"] for block in result.report["blocks"]) if result else ""
    told = [spread([result], lambda r, phase=phase: r.seconds(phase), whole) for phase in ("measure", "select")]
    return [case.name, droppable, count, f"{size} × {size}", *told, *cost([result])]
