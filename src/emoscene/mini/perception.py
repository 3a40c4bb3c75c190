"""Perception: a small network that has learnt to tell the world's scenes and emotions, as a measure of likeness.

Two pictures look alike if its features are alike at every scale (Zhang et al. 2018, LPIPS): the features' vectors are
scaled to unit length, place by place, and their squared distance is averaged. Against that measure, unlike against the
pixels' own, a blurred picture is far from a sharp one. It serves while the autoencoder trains and is not shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emoscene.backbone import Backbone
from emoscene.config import option
from emoscene.learner import Batch, Learner
from emoscene.world import SCENES


class Perception(Learner):
    """Four convolutions with a scene head and an emotion head (the ninth emotion is none)."""

    @dataclass(frozen=True)
    class Config:
        """Its size."""

        channels: tuple[int, ...] = option((24, 48, 96, 128), "channels of the four scales")

    reads: ClassVar[tuple[str, ...]] = ("pixels", "scene", "weights")
    role: ClassVar[str] = "base"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        widths = (3, *config.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 1 + (place > 0), 1), nn.GroupNorm(8, b), nn.SiLU())
            for place, (a, b) in enumerate(pairwise(widths))
        )
        self.scene = nn.Linear(widths[-1], len(SCENES))
        self.emotion = nn.Linear(widths[-1], 9)

    @classmethod
    def start(cls, config: Config, base: Backbone | None, data: Any = None) -> Self:
        """A new one; it stands on nothing."""
        return cls(config)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Features [B, C, h, w] of pictures [B, 3, H, W] in [-1, 1], a scale each."""
        found = []
        for stage in self.stages:
            pictures = stage(pictures)
            found.append(pictures)
        return found

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the scene and of the emotions' shares."""
        last = self.features(batch["pixels"].float() / 127.5 - 1)[-1].mean((2, 3))
        names = list(SCENES)
        scene = torch.tensor([names.index(name) for name in batch["scene"]], device=last.device)
        shares = batch["weights"]
        shares = torch.cat([shares, 1 - shares.sum(1, keepdim=True)], 1)
        emotion = F.cross_entropy(self.emotion(last).float(), shares, reduction="none")
        return F.cross_entropy(self.scene(last).float(), scene, reduction="none") + emotion

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """How unlike pictures look [B]; the gradient goes to `one` alone."""
        with torch.no_grad():
            wanted = self.features(other)
        pairs = zip(self.features(one), wanted, strict=True)
        apart = [(F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square() for a, b in pairs]
        return torch.stack([part.sum(1).mean((1, 2)) for part in apart]).sum(0)
