"""A plain training loop in PyTorch: the same phases on the same number of views, written as anybody would write them.

Phases are told apart as `practised steps` does it: loops that each run one phase more, without waiting for the device within one.
"""

import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F

import subjects

WARM_UP = 5

#: Whether TF32 is allowed, and whether steps are in bfloat16.
PRECISIONS = {"float32": (False, False), "TF32": (True, False), "bfloat16": (False, True)}


class Loop:
    def __init__(self, subject, device, precision, views, whole):
        """`whole`: all weights are trained, not only those behind the first gap."""
        tf32, self.narrow = PRECISIONS[precision]
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.device = torch.device(device)
        form = torch.channels_last if tf32 or self.narrow or device == "cpu" else torch.contiguous_format
        teacher = subjects.module(subject)
        student, ahead = subjects.without(subject, subjects.module(subject))
        self.subject, self.views = subject, views
        self.teacher = teacher.to(self.device, memory_format=form).eval().requires_grad_(False)
        self.student = student.to(self.device, memory_format=form).eval()
        if not whole:
            for weight in ahead:
                weight.requires_grad_(False)
        self.student.fc.requires_grad_(False)
        moving = [weight for weight in self.student.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.SGD(moving, lr=1e-4, momentum=0.9, weight_decay=1e-4)
        self.images = torch.randn(subject.images, 3, subject.side, subject.side, device=self.device)

    def fresh(self):
        """Crops resized back and flipped, with a box of another image each: one grid_sample and one mask."""
        chosen = torch.randint(len(self.images), (self.views,), device=self.device)
        scale = torch.empty(self.views, 2, device=self.device).uniform_(0.6, 1.0)
        shift = (1 - scale) * torch.empty(self.views, 2, device=self.device).uniform_(-1, 1)
        flip = 1 - 2 * torch.randint(2, (self.views,), device=self.device)
        theta = torch.zeros(self.views, 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale[:, 0] * flip, scale[:, 1], shift
        side = self.subject.side
        grid = F.affine_grid(theta, (self.views, 3, side, side), align_corners=False)
        seen = F.grid_sample(self.images[chosen], grid, align_corners=False)
        place = torch.rand(4, self.views, 1, device=self.device)
        line = torch.linspace(0, 1, side, device=self.device)
        rows, columns = ((line - place[at]).abs() < 0.15 + 0.2 * place[at + 1] for at in (0, 2))
        mask = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
        return torch.where(mask, seen.roll(1, 0), seen)

    def features(self, network, views):
        x = network.relu(network.bn1(network.conv1(views))) if hasattr(network, "relu") else F.relu(network.bn1(network.conv1(views)))
        x = network.maxpool(x) if hasattr(network, "maxpool") else x
        for stage in self.subject.stages(network):
            x = stage(x)
        return x

    def mixed(self):
        return torch.autocast(self.device.type, torch.bfloat16) if self.narrow else nullcontext()

    def ask(self, views):
        with torch.no_grad(), self.mixed():
            return self.features(self.teacher, views)

    def loss(self, views):
        wanted = self.ask(views)
        with self.mixed():
            features = self.features(self.student, views)
        return F.mse_loss(features.float(), wanted.float())

    def gradients(self, views):
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(views).backward()

    def step(self):
        self.gradients(self.fresh())
        self.optimiser.step()

    def times(self, steps):
        """Milliseconds by phase."""
        views = self.fresh()
        cut = self.each(self.fresh, steps)
        teacher = self.each(lambda: self.ask(views), steps)
        forward = self.each(lambda: self.loss(views), steps)
        backward = self.each(lambda: self.gradients(views), steps)
        step = self.each(self.step, steps)
        return {
            "views": cut,
            "teacher": teacher,
            "student_forward": forward - teacher,
            "backward": backward - forward,
            "optimiser": step - backward - cut,
            "step": step,
        }

    def each(self, work, steps):
        for _ in range(WARM_UP):
            work()
        self.wait()
        began = time.perf_counter()
        for _ in range(steps):
            work()
        self.wait()
        return (time.perf_counter() - began) * 1e3 / steps

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
