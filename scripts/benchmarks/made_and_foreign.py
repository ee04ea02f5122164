"""Jobs without images (table 2) and with images of another kind (table 3)."""

from cases import EXAMPLE, SHARED, example, have_shared, lite0, resnet20
from markdown import COST, QUALITY, cost, quality, runs, sets, table
from store import Images, Request


def zero_images(store, scale):
    yield (
        "Jobs without any image beside the same job with real ones. Where there is none, pictures are drawn and those that decide "
        "are changed until the network recognises them; the feature loss is on those then."
    )
    plan = [(example(), 200)]
    if have_shared():
        plan = [(resnet20(), 500), *([(lite0(), 200)] if scale.full else [])]
    for case, count in plan:
        rows = []
        for k in (1, 2) if scale.full else (2,):
            for name, images in [(f"{count} real", Images.of(case, count)), ("none", Images(0))]:
                group = store.run([Request(case, images, {"target": {"blocks": k}, "seed": seed}) for seed in scale.seeds])
                rows.append([k, name, runs(group), sets(group), *quality(group), *cost(group)])
        yield f"### {case.name}"
        yield table(["k", "images", "seeds", "dropped", *QUALITY, *COST], rows)


def foreign_images(store, scale):
    if not have_shared():
        yield "Skipped: no ../shared."
        return
    yield (
        "Images that the network was not trained for; the feature loss is on those of them that were held out. Columns are of "
        "our whole job, k = 2."
    )
    photos, small = SHARED / "data" / "imagenet-tiny-200.zip", SHARED / "data" / "cifar10-tiny-500.zip"
    clothes = EXAMPLE / "tiny-200.zip"
    shrunk, grown = {"resize": 32, "crop": 32}, {"resize": 256, "crop": 224}
    plan = [
        (resnet20(), [("200 ImageNet photos", photos, shrunk), ("200 Fashion-MNIST images", clothes, shrunk)]),
    ]
    if scale.full:
        plan.append((lite0(), [("200 CIFAR-10 images", small, grown), ("200 Fashion-MNIST images", clothes, grown)]))
    for case, kinds in plan:
        rows = []
        for name, source, preprocess in kinds:
            jobs = [{"target": {"blocks": 2}, "seed": seed} for seed in scale.seeds]
            group = store.run([Request(case, Images(200, 0, source), job, preprocess) for job in jobs])
            rows.append([name, runs(group), sets(group), *quality(group), *cost(group)])
        yield f"### {case.name}"
        yield table(["images", "seeds", "dropped", *QUALITY, *COST], rows)
