"""Anybody's image classifier as a judge: a folder or a hub id that `AutoModelForImageClassification` loads.

Its labels are matched by name, never by number (`taxonomy.map_label`): the eight, their synonyms, and Ekman's by the
rule that data with such labels learn by. A label that says none of the eight, such as `neutral`, is left out, as it is
in that data, and the probabilities of all others are normalized again. Emotions that no label says are not judged.
Where these rules are not the ones that are wanted, a TOML file says what labels mean (`LABELS.toml`):

    [labels]
    joy = "amusement:0.5,contentment:0.5"
    "LABEL_3" = "fear"
    neutral = ""                # left out

As `target=object` it tells what is to be seen, by labels of its own, and not what is felt.

Images are brought to a square of the classifier's side, and nothing of them is cropped. The features, for distances,
are the mean over all places of the last hidden state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import torch
from torch import Tensor
from transformers import AutoModelForImageClassification

from emoscene.core.config import option, read_toml
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.taxonomy import EKMAN, EMOTIONS, NO_EMOTION, Weights, emotion_weights, map_label
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import Encoder, PixelFormat, load_pretrained, locate_model, mean_place
from emoscene.learning.learner import Batch


@final
class Classifier(Encoder):
    """Reads emotion, or what is to be seen, by somebody's labels."""

    @dataclass(frozen=True)
    class Config:
        """Whose classifier, and what it is asked for."""

        model: str = option("", "a classifier of images, a folder or a hub id")
        target: str = option("emotion", "what its labels are read as", choices=("emotion", "object"))
        label_map: str = option("", "a TOML file that says which emotions its labels are, before the usual rules")

    config: Config
    borrows: ClassVar[str] = "model"

    def __init__(self, config: Config, model: Any, labels: tuple[str, ...], pixels: PixelFormat) -> None:
        super().__init__(config)
        self.model, self.pixels, self.target = model, pixels, config.target
        self.labels = labels
        if self.target == "emotion":
            self.labels = EMOTIONS
        rules = read_label_map(config.label_map, labels)
        told = torch.tensor([rules[label] for label in labels])
        self.explains = tuple(name for name, weight in zip(EMOTIONS, told.sum(0), strict=True) if weight > 0)
        self.told: Tensor
        self.register_buffer("told", told)
        if self.target == "emotion" and not self.explains:
            raise unknown_name(
                f"emotion among the labels of {config.model}",
                labels[0],
                [*EMOTIONS, *EKMAN],
                hint="a label map says what they mean: --judge MODEL=LABELS.toml",
            )

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """The classifier of this place. Raises UsageError where there is none, or one whose labels say no emotion."""
        model, _ = load_pretrained(AutoModelForImageClassification, config.model, "image classifier")
        labels = tuple(str(model.config.id2label[number]) for number in range(model.config.num_labels))
        return cls(config, model, labels, PixelFormat.from_folder(locate_model(config.model)))

    def compute_loss(self, batch: Batch) -> Tensor:
        """It is used as it is."""
        raise NotImplementedError("somebody's classifier has nothing to learn here")

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [B, K] and the mean of the last hidden state over all places [B, D]."""
        seen = self.model(self.pixels.transform(images), output_hidden_states=True)
        likely = seen.logits.float().softmax(1)
        if self.target == "emotion":
            likely = likely @ self.told
            likely = likely / likely.sum(1, keepdim=True).clamp(min=1e-12)
        return likely, mean_place(seen.hidden_states[-1])


def read_label_map(file: str, labels: Sequence[str]) -> dict[str, Weights]:
    """Find out which emotions the labels of a classifier are.

    Args:
        file: A TOML file with a table `labels`; empty for none.
        labels: The classifier's labels.

    Returns:
        8 weights for each label, of the file where it names the label, else by the usual rules; zeros for one that is
        left out.

    Raises:
        UsageError: The file has no such table, names a label that does not exist, or an emotion that does not.
    """
    rules = {label: map_label(label) or NO_EMOTION for label in labels}
    if not file:
        return rules
    for label, weights in read_label_table(file).items():
        if label not in rules:
            raise unknown_name(f"label in the classifier that {file} is for,", label, labels)
        rules[label] = weights
    return rules


def read_label_table(file: str) -> dict[str, Weights]:
    """Read what a label map says, whatever classifier it is for.

    Args:
        file: A TOML file with a table `labels`.

    Returns:
        8 weights for each label that it names; zeros for one that is left out.

    Raises:
        UsageError: The file has no such table, or names an emotion that does not exist.
    """
    table = read_toml(file).get("labels")
    if not isinstance(table, dict) or not table:
        raise UsageError(f'{file} has no labels: write [labels] and below it lines such as joy = "amusement"')
    rules = {}
    for label, emotion in table.items():
        if not isinstance(emotion, str):
            raise UsageError(f"{file}: {label} = {emotion!r} is no emotion: write a name, a mixture, or an empty text")
        try:
            rules[label] = emotion_weights(emotion)
        except UsageError as error:
            raise UsageError(f"{file}: {label}: {error}") from error
        if min(rules[label]) < 0:
            raise UsageError(f"{file}: {label} = {emotion!r} has a weight below 0, which no label has: leave it out")
    return rules
