"""What a baseline is: it plans images of the base alone, and makes of them an image for each emotion asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoscene.core import registry
from emoscene.core.config import replace_fields
from emoscene.core.params import GenerationParams
from emoscene.evaluation.generate import Prompt, plan_samples
from emoscene.evaluation.predictions import Sample
from emoscene.evaluation.references import References
from emoscene.pipeline.pipeline import EmotionPipeline

ALONE = "none"
"""The method whose images baselines are made of."""


class Baseline(ABC):
    """Makes images that show an emotion from images of the base alone."""

    @dataclass(frozen=True)
    class Config:
        """Nothing to set."""

    images_per_sample = 1
    """How many images of the base one of its own takes, of a seed that all emotions share."""

    def __init__(self, config: Any, references: References) -> None:
        self.config, self.references = config, references

    def plan(
        self, pipe: EmotionPipeline, prompts: Sequence[Prompt], seeds: Sequence[int], **asked: Any
    ) -> list[tuple[Sample, GenerationParams]]:
        """Plan the images of the base.

        Args:
            pipe: The base alone.
            prompts: The prompts.
            seeds: The seeds.
            asked: Other parameters of the generation.

        Returns:
            The samples and the parameters of their images.
        """
        return plan_samples(pipe, prompts, seeds, **asked)

    @abstractmethod
    def finish(self, samples: Sequence[Sample], folder: Path) -> list[Sample]:
        """Make the baseline's images of the base's.

        Args:
            samples: What was planned, with the files of its images.
            folder: Where new images go.

        Returns:
            A sample for each prompt, seed and emotion.
        """

    @property
    def weight_folders(self) -> list[Path]:
        """Folders of weights that took part, and so may not judge."""
        return []


def is_baseline(method: str | None) -> bool:
    """Tell whether a name is that of a baseline.

    Args:
        method: What was given as the method.

    Returns:
        False for methods, and where none was given.
    """
    return bool(method) and str(method).replace("-", "_") in registry.list_names("baselines")


def open_baseline(name: str, settings: dict[str, Any], references: References) -> Baseline:
    """Make a baseline ready.

    Args:
        name: As `emoscene ls baselines` has it.
        settings: Fields of its `Config`.
        references: What it may use.

    Returns:
        The baseline.

    Raises:
        UsageError: A setting is not one of its own, or something that it uses is missing.
    """
    cls: type[Baseline] = registry.load_plugin("baselines", name)
    own = {key.removeprefix(f"{name}."): value for key, value in settings.items()}
    return cls(replace_fields(cls.Config(), own), references)
