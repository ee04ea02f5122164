"""Trains the residual network of this example and exports it to model.onnx, as a customer would.

    python3 train.py                      # needs: torch 2.11, onnxscript, onnxruntime, numpy, pillow; see README.md
    python3 train.py --weights w.pt       # trains once and keeps the weights there; a second run only exports
    python3 train.py --blocks 9 --width 8 --epochs 4 --out /tmp/resnet56.onnx    # another one, deep and narrow (ResNet-56's form)
    python3 train.py --blocks 3 --size 112 --epochs 0 --out /tmp/untrained.onnx  # an untrained one for larger images, to time

The model is evaluated in ONNX Runtime on all 10,000 test images: the exported file is what counts.
"""

import argparse
import os
import time
from pathlib import Path

# Threads that wait for each other in a loop, as they would by default, cost most of the time on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import nn

import images

SEED = 7
BATCH = 128
MAX_LEARNING_RATE = 0.1
CLASSES = 10
HERE = Path(__file__).resolve().parent


class BasicBlock(nn.Module):
    """relu(f(x) + shortcut(x)). The shortcut is the identity, or a projection where resolution or width changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + shortcut)


class ResNet(nn.Module):
    """A CIFAR-style residual network for one-channel images: a stem and three stages at 28, 14 and 7 pixels."""

    def __init__(self, width, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 1, blocks)
        self.layer2 = stage(width, 2 * width, 2, blocks)
        self.layer3 = stage(2 * width, 4 * width, 2, blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


def stage(inputs, outputs, stride, blocks):
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def network_input(pixels, preprocess):
    """Bytes (N, 28, 28) to a standardised float tensor (N, 1, 28, 28)."""
    scaled = torch.from_numpy(pixels).float().unsqueeze(1) / preprocess["divide_by"]
    return (scaled - preprocess["mean"][0]) / preprocess["std"][0]


def augment(batch):
    """Flips half of the images and shifts each by up to two pixels. The border is black, as in the data."""
    flipped = torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch.flip(3), batch)
    black = batch.min()
    padded = F.pad(flipped, (2, 2, 2, 2), value=black.item())
    corners = torch.randint(0, 5, (len(batch), 2)).tolist()
    return torch.stack([image[:, y : y + 28, x : x + 28] for image, (y, x) in zip(padded, corners)])


def train(net, inputs, labels, epochs):
    """SGD with one learning-rate cycle. Logs a line per epoch."""
    steps = len(inputs) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LEARNING_RATE, total_steps=epochs * steps)
    # Channels last is a third faster on a CPU and changes nothing else; main() undoes it before the export.
    net.train().to(memory_format=torch.channels_last)
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        mean_loss = train_epoch(net, inputs, labels, steps, optimizer, schedule)
        print(f"epoch {epoch}/{epochs}: loss {mean_loss:.4f}, {time.monotonic() - started:.0f} s", flush=True)


def train_epoch(net, inputs, labels, steps, optimizer, schedule):
    total = 0.0
    for picked in torch.randperm(len(inputs))[: steps * BATCH].split(BATCH):
        batch = augment(inputs[picked]).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(net(batch), labels[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / steps


def export(net, path, size=28):
    """Exports as `torch.onnx.export` does by default, with a dynamic batch and the weights inside the file."""
    net = net.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, size, size),),
        path,
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes={"x": {0: torch.export.Dim("batch")}},
        external_data=False,
    )


def top1(path, inputs, labels):
    """Share of test images that the exported file, run in ONNX Runtime, labels correctly."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    hits = 0
    for start in range(0, len(inputs), 500):
        (logits,) = session.run(["logits"], {"input": inputs[start : start + 500].numpy()})
        hits += int(np.sum(logits.argmax(1) == labels[start : start + 500]))
    return hits / len(inputs)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="file that keeps the trained weights; read where it exists")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--blocks", type=int, default=4, help="residual blocks per stage")
    parser.add_argument("--epochs", type=int, default=8, help="0 leaves the network untrained")
    parser.add_argument("--size", type=int, default=28, help="side of the images; only of an untrained network")
    parser.add_argument("--out", type=Path, help="where the network goes instead of model.onnx; no images are written then")
    parser.add_argument("--threads", type=int, default=2, help="the committed model was trained with 2")
    args = parser.parse_args()
    if args.size != 28 and args.epochs:
        parser.error("images of another size are for an untrained network: --epochs 0")
    if not args.epochs and not args.out:
        parser.error("an untrained network does not replace model.onnx: --out says where it goes")
    return args


def main():
    args = arguments()
    torch.manual_seed(SEED)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    if not args.epochs:
        export(ResNet(args.width, args.blocks), args.out, args.size)
        return

    train_pixels, train_labels = images.load("train")
    test_pixels, test_labels = images.load("t10k")
    preprocess = images.preprocess(train_pixels)

    net = ResNet(args.width, args.blocks)
    if args.weights and args.weights.exists():
        net.load_state_dict(torch.load(args.weights, weights_only=True))
    else:
        started = time.monotonic()
        train(net, network_input(train_pixels, preprocess), torch.from_numpy(train_labels).long(), args.epochs)
        print(f"trained in {time.monotonic() - started:.0f} s")
        if args.weights:
            torch.save(net.state_dict(), args.weights)

    out = args.out or HERE / "model.onnx"
    export(net, out)
    accuracy = top1(out, network_input(test_pixels, preprocess), test_labels)
    print(f"{out.name}: top-1 {accuracy:.2%} on {len(test_labels)} test images in ONNX Runtime")
    if not args.out:
        images.main()


if __name__ == "__main__":
    main()
