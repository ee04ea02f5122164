"""Networks that neither torchvision nor timm has: thin, pre-activation, C2f and C3, several inputs or outputs."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(inputs, outputs, kernel=3, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions; where the width doubles the shortcut takes every second element and pads the channels."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.grows = inputs != outputs
        self.margin = (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.margin, self.margin)) if self.grows else x
        return F.relu(y + shortcut)


class PreActivation(nn.Module):
    """BatchNormalization and Relu ahead of each convolution; nothing after the addition."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv(outputs, outputs)
        self.shortcut = conv(inputs, outputs, 1, stride) if inputs != outputs else None

    def forward(self, x):
        ahead = F.relu(self.bn1(x))
        shortcut = self.shortcut(ahead) if self.shortcut is not None else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(ahead))))


class Thin(nn.Module):
    """The CIFAR form: a stem and three stages of three blocks, 16, 32 and 64 channels."""

    def __init__(self, block, channels=3, width=16, classes=10, early_exit=False):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width), nn.BatchNorm2d(width)
        stage = lambda inputs, outputs, stride: nn.Sequential(
            block(inputs, outputs, stride), block(outputs, outputs, 1), block(outputs, outputs, 1)
        )
        self.layer1 = stage(width, width, 1)
        self.layer2 = stage(width, 2 * width, 2)
        self.layer3 = stage(2 * width, 4 * width, 2)
        self.bn_last = nn.BatchNorm2d(4 * width) if block is PreActivation else None
        self.fc = nn.Linear(4 * width, classes)
        self.early = nn.Linear(2 * width, classes) if early_exit else None

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        middle = self.layer2(self.layer1(x))
        x = self.layer3(middle)
        if self.bn_last is not None:
            x = F.relu(self.bn_last(x))
        answer = self.fc(x.mean((2, 3)))
        return (answer, self.early(middle.mean((2, 3)))) if self.early is not None else answer


class TwoInputs(nn.Module):
    """A picture and a depth map, each with a stem and a stage of its own, joined and classified."""

    def __init__(self):
        super().__init__()
        self.picture = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), BasicBlock(16, 16, 1), BasicBlock(16, 16, 1))
        self.depth = nn.Sequential(conv(1, 16), nn.BatchNorm2d(16), nn.ReLU(), BasicBlock(16, 16, 1))
        self.join = nn.Sequential(conv(32, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU(), BasicBlock(32, 32, 1))
        self.fc = nn.Linear(32, 10)

    def forward(self, picture, depth):
        x = self.join(torch.cat([self.picture(picture), self.depth(depth)], 1))
        return self.fc(x.mean((2, 3)))


class SeveralInputs(nn.Module):
    """Two pictures through one stem and stage, and two numbers that scale the channels of what they are joined to."""

    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Sequential(conv(3, width), nn.BatchNorm2d(width), nn.ReLU())
        self.stage = BasicBlock(width, width, 1)
        self.join = nn.Sequential(conv(2 * width, 2 * width, 3, 2), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.gain = nn.Linear(2, 2 * width)
        self.joint = nn.Sequential(BasicBlock(2 * width, 2 * width, 1), BasicBlock(2 * width, 2 * width, 1))
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, left, right, numbers):
        pictures = torch.cat([self.stage(self.stem(left)), self.stem(right)], 1)
        x = self.join(pictures) * torch.sigmoid(self.gain(numbers))[:, :, None, None]
        return self.fc(self.joint(x).mean((2, 3)))


class ConvSilu(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, stride=1):
        super().__init__()
        self.conv, self.bn = conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """The branch of C2f and C3; nothing behind the addition."""

    def __init__(self, width, first, second):
        super().__init__()
        self.cv1, self.cv2 = ConvSilu(width, width, first), ConvSilu(width, width, second)

    def forward(self, x):
        return x + self.cv2(self.cv1(x))


class C2f(nn.Module):
    """Splits the channels, runs bottlenecks on one half, and joins every one's output."""

    def __init__(self, width, blocks):
        super().__init__()
        self.cv1, self.cv2 = ConvSilu(width, width), ConvSilu((2 + blocks) * width // 2, width)
        self.m = nn.ModuleList(Bottleneck(width // 2, 3, 3) for _ in range(blocks))

    def forward(self, x):
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class C3(nn.Module):
    """Two paths by convolutions, bottlenecks on one of them, joined."""

    def __init__(self, width, blocks):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = ConvSilu(width, width // 2), ConvSilu(width, width // 2), ConvSilu(width, width)
        self.m = nn.Sequential(*(Bottleneck(width // 2, 1, 3) for _ in range(blocks)))

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class Backbone(nn.Module):
    """A YOLO-style backbone with a classifier, as its classification form has it."""

    def __init__(self, block, width=16, classes=10):
        super().__init__()
        stages = [ConvSilu(3, width, 3, 2)]
        for at, blocks in enumerate([1, 2, 2, 1]):
            stages += [ConvSilu(width << at, width << at + 1, 3, 2), block(width << at + 1, blocks)]
        self.model = nn.Sequential(*stages)
        self.fc = nn.Linear(width << 4, classes)

    def forward(self, x):
        return self.fc(self.model(x).mean((2, 3)))


class Segmentation(nn.Module):
    """Features of a network of timm's form, classified at every position and enlarged to the image's size."""

    def __init__(self, backbone, width, classes):
        super().__init__()
        self.backbone = backbone
        self.backbone.fc = nn.Identity()
        self.head = nn.Sequential(conv(width, width), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, classes, 1))

    def forward(self, x):
        coarse = self.head(self.backbone.forward_features(x))
        return F.interpolate(coarse, size=x.shape[-2:], mode="bilinear", align_corners=False)


def thin_resnet20():
    return Thin(BasicBlock)


def preact_resnet20():
    return Thin(PreActivation)


def two_outputs():
    return Thin(BasicBlock, early_exit=True)


def two_inputs():
    return TwoInputs()


def c2f_backbone():
    return Backbone(C2f)


def c3_backbone():
    return Backbone(C3)
