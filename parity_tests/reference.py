"""The PyTorch side of the parity tests: the published programs' pieces, written anew in plain
PyTorch.

Nothing here imports ltjax or JAX, so that the two sides share no code.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# ---- Losses: per example, as definitions (RECIPES: cross-entropy of changed logits) ----


def cross_entropy(logits, labels, *, label_smoothing=0.0):
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


def below_top(logits):
    """The same softmax; without it the reference itself loses digits beside logits of 1e4."""
    return logits - logits.detach().amax(-1, keepdim=True)


def focal(logits, labels, *, gamma=1.0):
    """(1 - p_y)^gamma CE with 1 - p_y summed over the other classes, so that it is exact where p_y
    rounds to 1.
    """
    log_probs = F.log_softmax(logits, dim=-1)
    own = F.one_hot(labels, logits.shape[-1]).bool()
    log_others = torch.logsumexp(log_probs.masked_fill(own, -torch.inf), dim=-1)
    return torch.exp(gamma * log_others) * -log_probs[own]


def ldam_margins(counts, max_margin=0.5):
    margins = 1.0 / np.sqrt(np.sqrt(np.asarray(counts, np.float64)))
    return margins * (max_margin / margins.max())


def ldam(logits, labels, *, class_counts, max_margin=0.5, scale=30.0):
    margins = torch.tensor(ldam_margins(class_counts, max_margin), dtype=logits.dtype)
    one_hot = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    logits = below_top(logits)
    return F.cross_entropy(scale * (logits - one_hot * margins), labels, reduction="none")


def vector_scaling(logits, labels, *, class_counts, gamma=0.3, tau=1.0):
    counts = torch.tensor(class_counts, dtype=torch.float64)
    powers = counts ** (-gamma)
    delta = powers / powers.min()
    iota = tau * torch.log(counts / counts.sum())
    return F.cross_entropy(
        logits / delta.to(logits.dtype) + iota.to(logits.dtype), labels, reduction="none"
    )


def balanced_softmax(logits, labels, *, class_counts):
    counts = torch.tensor(class_counts, dtype=torch.float64)
    return F.cross_entropy(
        below_top(logits) + counts.log().to(logits.dtype), labels, reduction="none"
    )


def logit_adjusted(logits, labels, *, class_counts, tau=1.0):
    counts = torch.tensor(class_counts, dtype=torch.float64)
    return F.cross_entropy(
        below_top(logits) + tau * (counts / counts.sum()).log().to(logits.dtype),
        labels,
        reduction="none",
    )


def label_aware_smoothing(logits, labels, *, class_counts, head=0.3, tail=0.0):
    counts = torch.tensor(class_counts, dtype=torch.float64)
    low, high = counts.min(), counts.max()
    smoothing = tail + (head - tail) * torch.sin((counts - low) * torch.pi / (2 * (high - low)))
    smoothing = smoothing.to(logits.dtype)[labels]
    log_probs = F.log_softmax(logits, dim=-1)
    own = log_probs.gather(-1, labels[:, None])[:, 0]
    return -(1 - smoothing) * own - smoothing * log_probs.mean(dim=-1)


LOSSES = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "ldam": ldam,
    "vector_scaling": vector_scaling,
    "balanced_softmax": balanced_softmax,
    "logit_adjusted": logit_adjusted,
    "label_aware_smoothing": label_aware_smoothing,
}


def weighted_mean(losses, labels, class_weights):
    weights = class_weights[labels]
    return (weights * losses).sum() / weights.sum()


def effective_number(counts, beta=0.9999):
    """In float64 by the formula as printed; scaled to sum to C."""
    weights = (1.0 - beta) / (1.0 - np.power(np.float64(beta), counts))
    return weights / weights.sum() * len(counts)


def inverse_frequency(counts):
    weights = 1.0 / np.asarray(counts, np.float64)
    return weights / weights.sum() * len(counts)


# ---- ResNet for CIFAR, under the authors' parameter names ----


class NormedLinear(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features).uniform_(-1, 1))
        self.weight.data = F.normalize(self.weight.data, dim=0)

    def forward(self, x):
        return F.normalize(x, dim=1).mm(F.normalize(self.weight, dim=0))


class BasicBlock(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.pad = stride, (planes - in_planes) // 2

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1 or self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(out + x)


class ResNet(nn.Module):
    def __init__(self, blocks, num_classes, normalized=False, width=16, channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(blocks, width, width, 1)
        self.layer2 = self._stage(blocks, width, 2 * width, 2)
        self.layer3 = self._stage(blocks, 2 * width, 4 * width, 2)
        self.linear = (
            NormedLinear(4 * width, num_classes)
            if normalized
            else nn.Linear(4 * width, num_classes)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(blocks, in_planes, planes, stride):
        rest = [BasicBlock(planes, planes, 1) for _ in range(blocks - 1)]
        return nn.Sequential(BasicBlock(in_planes, planes, stride), *rest)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


# ---- ResNet-18 with the small stem, ResLT ----


class ProjectionBlock(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, num_classes=10, width=64, normalized=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        planes = [width, width, 2 * width, 4 * width, 8 * width]
        for stage in range(1, 5):
            first = ProjectionBlock(planes[stage - 1], planes[stage], 1 if stage == 1 else 2)
            setattr(
                self,
                f"layer{stage}",
                nn.Sequential(first, ProjectionBlock(planes[stage], planes[stage], 1)),
            )
        self.linear = (
            NormedLinear(8 * width, num_classes)
            if normalized
            else nn.Linear(8 * width, num_classes)
        )

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean(dim=(2, 3)))


class ResLT(nn.Module):
    """Gives (head, medium, tail) logits. With grouped=True a 1x1 convolution in three groups stands
    for the three BatchNorms.
    """

    def __init__(self, blocks, num_classes, width=16, grouped=False):
        super().__init__()
        last = 3 * width if grouped else 4 * width
        self.model = nn.Module()
        self.model.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.model.bn1 = nn.BatchNorm2d(width)
        self.model.layer1 = ResNet._stage(blocks, width, width, 1)
        self.model.layer2 = ResNet._stage(blocks, width, 2 * width, 2)
        self.model.layer3 = ResNet._stage(blocks, 2 * width, last, 2)
        if grouped:
            self.branches = nn.Conv2d(last, last, 1, groups=3)
        else:
            self.BNH, self.BNM, self.BNT = (nn.BatchNorm2d(last) for _ in range(3))
        self.linear = nn.Linear(last // 3 if grouped else last, num_classes)
        self.grouped = grouped

    def forward(self, x):
        m = self.model
        x = m.layer3(m.layer2(m.layer1(F.relu(m.bn1(m.conv1(x))))))
        maps = (
            self.branches(x).chunk(3, dim=1)
            if self.grouped
            else (self.BNH(x), self.BNM(x), self.BNT(x))
        )
        return tuple(self.linear(map_.mean(dim=(2, 3))) for map_ in maps)


def reslt(branches, labels, *, starts, beta):
    """The authors' program without its + 1e-7 inside the logarithm: branch k learns from the
    classes starts[k] and above.
    """
    terms, count = 0.0, 0.0
    for logits, start in zip(branches, starts, strict=True):
        member = (labels >= start).to(logits.dtype)
        terms = terms + (member * F.cross_entropy(logits, labels, reduction="none")).sum()
        count = count + member.sum()
    return beta * terms / count + (1 - beta) * F.cross_entropy(sum(branches), labels)


# ---- SAM around any torch optimiser ----


class SAM:
    """ascend() moves the parameters to w + e by their gradients; descend() moves them back and
    steps the base optimiser.
    """

    def __init__(self, optimizer, rho, adaptive=False):
        self.optimizer, self.rho, self.adaptive = optimizer, rho, adaptive
        self.before = []

    def _parameters(self):
        return [
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]

    @torch.no_grad()
    def ascend(self):
        parameters = self._parameters()
        scaled = [p.abs() * p.grad if self.adaptive else p.grad for p in parameters]
        norm = torch.stack([g.norm() for g in scaled]).norm()
        self.before = [p.clone() for p in parameters]
        for p in parameters:
            p.add_((p**2 if self.adaptive else 1.0) * p.grad * (self.rho / (norm + 1e-12)))
        self.optimizer.zero_grad()

    @torch.no_grad()
    def descend(self):
        for p, before in zip(self._parameters(), self.before, strict=True):
            p.copy_(before)
        self.optimizer.step()
        self.optimizer.zero_grad()


# ---- Schedules as the authors' program states them (epochs from 1) ----


def learning_rate(epoch, base=0.1):
    epoch = epoch + 1
    if epoch <= 5:
        return base * epoch / 5
    if epoch > 180:
        return base * 0.0001
    if epoch > 160:
        return base * 0.01
    return base


def reslt_learning_rate(epoch, base=0.1):
    if epoch < 5:
        k = (epoch + 1) / 5.0
        return base * (1 / 3.0 * (1 - k) + k)
    return base * (1.0 if epoch < 160 else 0.1 if epoch < 180 else 0.01)


def drw_beta(epoch):
    return (0.0, 0.9999)[min(epoch // 160, 1)]


def rho_steps(epoch):
    epoch = epoch + 1
    if epoch <= 5:
        return 0.05
    if epoch > 180:
        return 0.6
    if epoch > 160:
        return 0.5
    return 0.1


def cosine_rate(epoch, base, epochs):
    return base * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


# ---- Augmentation as tensor operations, given the draws ----


def crop(images, offsets, padding):
    """images (B, C, H, W); zero-pad and cut a window of the original size at each offset."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (padding,) * 4)
    return torch.stack(
        [
            image[:, r : r + height, c : c + width]
            for image, (r, c) in zip(padded, offsets, strict=True)
        ]
    )


def flip(images, flipped):
    return torch.where(torch.tensor(flipped)[:, None, None, None], images.flip(-1), images)
