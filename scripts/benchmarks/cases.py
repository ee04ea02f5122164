"""The networks that are measured, each with its images."""

import random
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
EXAMPLE = ROOT / "examples" / "fashion-mnist"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Case:
    """A network with the tiny set that its jobs draw from, and labelled images that no job sees."""

    name: str
    model: Path
    tiny: Path
    test: Path
    preprocess: Path
    #: Whether its images are large.
    large: bool = False

    @property
    def labels(self):
        return self.test.with_suffix(".labels.csv")

    def __len__(self):
        """Images in the tiny set."""
        with zipfile.ZipFile(self.tiny) as archive:
            return len(image_names(archive))


def example():
    return Case(
        "Fashion-MNIST example (12 blocks)",
        EXAMPLE / "model.onnx",
        EXAMPLE / "tiny-200.zip",
        EXAMPLE / "test-1000.zip",
        EXAMPLE / "preprocess.json",
    )


def deep():
    """ResNet-56's form for Fashion-MNIST, trained by examples/fashion-mnist/train.py."""
    return replace(example(), name="ResNet-56, width 8, Fashion-MNIST", model=ROOT / "bench-out" / "resnet56.onnx")


def _shared(name, network, preprocess, tiny, test):
    models, data = SHARED / "models", SHARED / "data"
    return Case(
        name, models / f"{network}.onnx", data / f"{tiny}.zip", data / f"{test}.zip", models / f"{preprocess}.preprocess.json"
    )


def resnet20(kept=False):
    """ResNet-20 for CIFAR-10, BatchNormalization folded or kept in the file."""
    network = "resnet20_cifar10" + ("_bn" if kept else "")
    name = "ResNet-20, BatchNormalization kept" if kept else "ResNet-20"
    return _shared(name, network, "resnet20_cifar10", "cifar10-tiny-500", "cifar10-test-2000")


def lite0(kept=False):
    """EfficientNet-Lite0 for ImageNet, BatchNormalization folded or kept in the file."""
    network = "efficientnet_lite0_imagenet" + ("_bn" if kept else "")
    name = "EfficientNet-Lite0, BatchNormalization kept" if kept else "EfficientNet-Lite0"
    case = _shared(name, network, "efficientnet_lite0_imagenet", "imagenet-tiny-200", "imagenet-test-300")
    return replace(case, large=True)


def have_shared():
    return SHARED.is_dir()


def image_names(archive):
    return sorted(name for name in archive.namelist() if name.lower().endswith(SUFFIXES))


def draw(source, count, seed, folder):
    """A zip of `count` images of an archive, drawn by the seed; the archive itself where it holds no more."""
    with zipfile.ZipFile(source) as whole:
        names = image_names(whole)
        if count >= len(names):
            return source
        path = Path(folder) / f"{source.stem}-{count}-{seed}.zip"
        with zipfile.ZipFile(path, "w") as part:
            for name in random.Random(seed).sample(names, count):
                part.writestr(Path(name).name, whole.read(name))
    return path
