"""What generated images are held against: a prepared folder's held-out images, and the colours of its training images.

    real = predict_held_out(folder, judges)        what judges read of images that nothing learnt from
    colours = learn_colours(folder)                mean colours of each emotion, and a reader of six numbers

The colours come from the images of the role `methods`, as a method's own training does: they are a shortcut that any
method may find. What a row of the report lacks is said in `explain_needs`, with how to get it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core.errors import UsageError
from emoscene.core.paths import resolve_inside
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.encoders.base import Encoder
from emoscene.evaluation.colours import FEW, ColourReader, colour_statistics, six_numbers
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import NotMeasurable, Predictions, spaced_places
from emoscene.evaluation.predictions import Sample, open_judged, predict

LEARNT = 2000
"""The most images that colours are learnt from."""
GIVE_DATA = "give --data with a prepared folder (`emoscene prepare SOURCE --out prepared` makes one)"


def real_samples(folder: Path) -> list[Sample]:
    """List the held-out images of a prepared folder.

    Args:
        folder: The prepared folder.

    Returns:
        A sample an image, each a prompt of its own; one of mixed emotions asks for none.
    """
    prepared = PreparedDataset(folder, "heldout")
    rows = prepared.read(range(len(prepared)), ["file", "weights", "emotion", "scene"])
    asked = _pure_labels(rows)
    files = enumerate(zip(rows["file"], asked, rows["scene"], strict=True))
    return [
        Sample(resolve_inside(folder, file), number, 0, int(label), scene) for number, (file, label, scene) in files
    ]


def _pure_labels(rows: Mapping[str, Any]) -> Array:
    """The emotion of each image, -1 for none and for mixtures [N]."""
    pure = rows["weights"].max(1).values == 1
    return np.where(pure.numpy(), rows["emotion"].numpy(), -1)


def predict_held_out(folder: Path, judges: Mapping[str, Encoder]) -> dict[str, Predictions]:
    """Let all judges read the held-out images of a prepared folder.

    Args:
        folder: The prepared folder.
        judges: The judges and other models, by name.

    Returns:
        The predictions of each emotion judge, with the viewers' votes where the folder has them.
    """
    prepared = PreparedDataset(folder, "heldout")
    votes = np.zeros((len(prepared), len(EMOTIONS)))
    if "votes" in prepared.table.column_names:
        votes = prepared.column("votes").double().numpy()
    found = {}
    for name, read in predict(real_samples(folder), judges).items():
        found[name] = replace(read, votes=votes)
    return found


@dataclass(frozen=True)
class LearntColours:
    """What images of each emotion look like by colour alone.

    Attributes:
        statistics: The mean `colour_statistics` of each emotion's images, nan for one without images [8, 6].
        reader: Reads the emotion from `six_numbers`.
    """

    statistics: Array
    reader: ColourReader

    def read(self, predictions: Mapping[str, Predictions]) -> dict[str, Predictions]:
        """Read the colours of images.

        Args:
            predictions: What was read of them, by judge.

        Returns:
            The same with the reader's answers in `by_colour`.
        """
        found = {}
        for name, read in predictions.items():
            found[name] = replace(read, by_colour=self.reader.read(read.colours))
        return found


def learn_colours(folder: Path) -> LearntColours:
    """Learn the colours of each emotion from the images that methods learn from.

    Args:
        folder: The prepared folder.

    Returns:
        The colours.

    Raises:
        NotMeasurable: The folder has too few such images.
    """
    remedy = "prepare more, or with a larger share of them (--split roles)"
    try:
        prepared = PreparedDataset(folder, "methods")
    except UsageError as error:
        raise NotMeasurable(f"nothing teaches what colours an emotion has: {error}") from error
    rows = prepared.read(range(len(prepared)), ["file", "weights", "emotion"])
    asked = _pure_labels(rows)
    labelled = np.flatnonzero(asked >= 0)
    if len(labelled) < FEW or len(np.unique(asked[labelled])) < 2:
        raise NotMeasurable(
            f"{folder} has {format_count(len(labelled), 'image')} of single emotions for methods, too few to teach "
            f"what colours an emotion has: {remedy}"
        )
    chosen = labelled[spaced_places(len(labelled), min(LEARNT, len(labelled)))]
    files = (resolve_inside(folder, rows["file"][place]) for place in chosen)
    return learn_image_colours((np.asarray(open_judged(file)) for file in files), asked[chosen])


def learn_image_colours(images: Iterable[Array], asked: Array) -> LearntColours:
    """Learn the colours of each emotion from images.

    Args:
        images: N images [H, W, 3] in 0 .. 255; one at a time is held.
        asked: The emotion of each [N].

    Returns:
        The colours.
    """
    numbers, statistics = [], []
    for pixels in images:
        numbers.append(six_numbers([pixels])[0])
        statistics.append(colour_statistics(pixels))
    means = np.full((len(EMOTIONS), 6), np.nan)
    for label in np.unique(asked):
        means[label] = np.array(statistics)[asked == label].mean(0)
    return LearntColours(means, ColourReader.fit(np.array(numbers), asked))


@dataclass(frozen=True)
class References:
    """What a call holds its images against, and what baselines are made with.

    Attributes:
        base: The base.
        data: The prepared folder, if one was given.
        device: Where it computes.
    """

    base: str
    data: Path | None = None
    device: str = "cpu"

    @cached_property
    def colours(self) -> LearntColours:
        """The colours of each emotion's training images.

        Raises UsageError where no data were given, and NotMeasurable where they are too few.
        """
        if self.data is None:
            raise UsageError(f"no images teach what colours an emotion has: {GIVE_DATA}")
        return learn_colours(self.data)

    def predict(
        self, made: dict[str, Predictions], judges: Mapping[str, Encoder]
    ) -> tuple[dict[str, Predictions], dict[str, Predictions] | None, dict[str, str]]:
        """Read the real images that generated ones are held against, and the colours of both.

        Args:
            made: What was read of the generated images, by judge.
            judges: The judges and other models, by name.

        Returns:
            What was read of the generated images, what was read of the real ones (None without data), and, by figure,
            what is not known and how to get it.
        """
        if self.data is None:
            return made, None, explain_needs(None, None, len(made), "")
        real, reason = predict_held_out(self.data, judges), ""
        try:
            made, real = self.colours.read(made), self.colours.read(real)
        except NotMeasurable as error:
            reason = str(error)
        return made, real, explain_needs(self.data, next(iter(real.values())), len(made), reason)


def explain_needs(data: str | Path | None, real: Predictions | None, judges: int, colours: str) -> dict[str, str]:
    """Say which figures could not be had, and how to get them.

    Args:
        data: The prepared folder, if one was given.
        real: What was read of its held-out images.
        judges: How many judges read the emotion.
        colours: Why no colours could be learnt; empty where they were.

    Returns:
        Sentences, by figure.
    """
    needs = {}
    if real is None:
        needs["ceiling"] = f"what judges read of real images is not known: {GIVE_DATA}"
        needs["stereotypy"] = f"no images teach what colours an emotion has: {GIVE_DATA}"
        needs["votes_kl"] = f"no viewers' votes are known: {GIVE_DATA}"
    elif colours:
        needs["stereotypy"] = colours
    if real is not None and not real.votes.any():
        needs["votes_kl"] = (
            f"{data} has no viewers' votes: write the shares of the people who named each emotion into a column "
            "`votes` of metadata.jsonl or metadata.csv, and prepare the images again"
        )
    if judges < 2:
        needs["second judge"] = (
            "one judge of emotions read the images: give --judge with one of another architecture (`emoscene train "
            "judge` makes one)"
        )
    return needs
