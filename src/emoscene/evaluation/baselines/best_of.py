"""Best of N: the base generates N images of a prompt, and for each emotion a selector keeps the one that shows it most.

It learns nothing, and costs N times as much: what chance alone puts into a base's images. The selector is the base's
EmotionCLIP or another encoder of emotions, and never a judge: what picks an image may not say how good it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, final

import numpy as np

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.params import GenerationParams
from emoscene.diffusion.base_spec import find_spec
from emoscene.evaluation.baselines.base import Baseline
from emoscene.evaluation.generate import Prompt
from emoscene.evaluation.judges import load_judge, locate_judge
from emoscene.evaluation.predictions import Sample, group_by_size, open_judged
from emoscene.evaluation.references import References
from emoscene.pipeline.pipeline import EmotionPipeline


@final
class BestOf(Baseline):
    """Keeps, of N images of the base, the one that the selector finds most of the emotion in."""

    @dataclass(frozen=True)
    class Config:
        """How many images, and what picks."""

        candidates: int = option(8, "images of the base for each prompt and seed", span=(2, 256), runtime=True)
        selector: str = option(
            "", "the encoder that picks, a folder or a hub id; empty: the base's EmotionCLIP", runtime=True
        )

    config: Config

    def __init__(self, config: Any, references: References) -> None:
        super().__init__(config, references)
        self.place = config.selector or find_spec(references.base).emotion_clip
        if not self.place:
            raise UsageError(
                f"the base {references.base!r} has no EmotionCLIP to pick images: give selector=FOLDER, an EmotionCLIP "
                "or a judge of emotions that judges nothing here"
            )
        self.selector = load_judge(self.place, references.device)
        if self.selector.target != "emotion":
            raise UsageError(f"{self.place} tells no emotions and cannot pick: give another selector=FOLDER")
        self.images_per_sample = config.candidates

    @property
    def weight_folders(self) -> list[Path]:
        """The selector's folder."""
        return [locate_judge(self.place)]

    def plan(
        self, pipe: EmotionPipeline, prompts: Sequence[Prompt], seeds: Sequence[int], **asked: Any
    ) -> list[tuple[Sample, GenerationParams]]:
        """Plan N images of the base for each seed: those of seed s are s N, s N + 1, ..."""
        count = self.config.candidates
        many: list[int] = []
        for seed in seeds:
            many += range(seed * count, (seed + 1) * count)
        planned = []
        for sample, params in super().plan(pipe, prompts, many, **asked):
            planned.append((replace(sample, seed=sample.seed // count), params))
        return planned

    def finish(self, samples: Sequence[Sample], folder: Path) -> list[Sample]:
        """Pick the image of each prompt, seed and emotion; an image may be picked for several emotions."""
        files = list(dict.fromkeys(sample.file for sample in samples))
        likely = {}
        for group in group_by_size(files):
            read = self.selector.read([open_judged(files[place]) for place in group])
            for place, probabilities in zip(group, read.probabilities, strict=True):
                likely[files[place]] = probabilities
        wish = attrgetter("prompt", "asked", "seed")
        best = []
        for _, alike in groupby(sorted(samples, key=wish), wish):
            candidates = list(alike)
            scores = [likely[one.file][one.asked] for one in candidates]
            best.append(candidates[int(np.argmax(scores))])
        return best
