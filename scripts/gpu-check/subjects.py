"""The networks that are timed, as PyTorch modules and as ONNX files, and images for them."""

import copy
import functools
import io
import zipfile
from dataclasses import dataclass
from typing import Callable

import exporting
import numpy
import own
import torch
import torchvision
from PIL import Image


@dataclass(frozen=True)
class Subject:
    name: str
    side: int
    images: int
    build: Callable
    #: Blocks that are dropped.
    blocks: int = 2

    @property
    def inputs(self):
        return [(3, self.side, self.side)]

    def stages(self, model):
        """The residual stages of the module, in order."""
        return [getattr(model, f"layer{at}") for at in range(1, 5) if hasattr(model, f"layer{at}")]

    def droppable(self, model):
        """(stage, index) of the blocks with an identity shortcut, in the order of the graph."""
        places = [(stage, at) for stage in self.stages(model) for at in range(len(stage))]
        return [(stage, at) for stage, at in places if at > 0 or self.identity(stage[0])]

    def identity(self, block):
        if hasattr(block, "grows"):
            return not block.grows
        return block.downsample is None


SUBJECTS = [
    Subject("ResNet-20 at 32", 32, 500, lambda: own.Thin(own.BasicBlock)),
    Subject("ResNet-34 at 64", 64, 500, lambda: torchvision.models.resnet34(num_classes=10)),
    Subject("ResNet-50 at 224", 224, 200, lambda: torchvision.models.resnet50()),
]

#: From a file of 8-bit pixels to the network's input.
PREPROCESS = {"divide_by": 255, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def module(subject):
    """The network with random weights whose BatchNormalizations have statistics of noise, ready for inference."""
    return copy.deepcopy(built(subject))


built = functools.cache(exporting.built)


def write(subject, folder):
    """The network's ONNX file, with a free batch, and a zip of images; written once."""
    model, images = folder / f"{subject.name}.onnx", folder / f"{subject.name}.zip"
    if not model.exists():
        network = module(subject)
        exporting.torchscript(network, exporting.example(subject, 1), str(model), batch="dynamic")
        images.write_bytes(pictures(subject.images, subject.side))
    return model, images


def pictures(count, side):
    """A zip of smooth pictures with edges, as JPEGs."""
    draw = numpy.random.default_rng(0)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for at in range(count):
            small = draw.integers(0, 256, (draw.integers(3, 9), draw.integers(3, 9), 3), dtype=numpy.uint8)
            way = Image.NEAREST if at % 2 else Image.BICUBIC
            file = io.BytesIO()
            Image.fromarray(small).resize((side, side), way).save(file, "JPEG", quality=90)
            archive.writestr(f"{at:05}.jpg", file.getvalue())
    return written.getvalue()


@torch.no_grad()
def without(subject, model):
    """The module without its blocks, spread evenly as `practised steps` spreads them, and the weights ahead of the first gap."""
    places = subject.droppable(model)
    chosen = [places[(at + 1) * len(places) // (subject.blocks + 1)] for at in range(subject.blocks)]
    ahead = weights_ahead(model, *chosen[0])
    for stage, at in chosen:
        stage[at] = torch.nn.Identity()
    return model, ahead


def weights_ahead(model, stage, at):
    """Weights of everything that is computed ahead of a block: the stem, the stages before, and the blocks before in its stage."""
    found = []
    for name, child in model.named_children():
        if child is stage:
            return found + [weight for block in list(stage)[:at] for weight in block.parameters()]
        found += list(child.parameters())
    return found
