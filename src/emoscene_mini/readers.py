"""How much of an image's emotion simple readers find: what the world gives away, and to whom.

    python -m emoscene_mini.readers --number 800

A world is worth learning from when all its cues together tell the emotion, and no single cue, no caption and no colour
statistic does. Two kinds of readers measure it. *Exact readers* know the chances that the plans were drawn with
(`world.cues`): all cues together, each group alone. *Fitted readers* know nothing: naive Bayes reads the clauses of
the long caption, and linear discriminants read six numbers of the pixels (mean and deviation of three opponent axes) or
a grid of 4 x 4 mean colours; each is fitted and scored on different images.

Exact readers are scored on the intended emotion and on the viewers' label, fitted readers on the label, which is what
a judge is scored on. Chance is 1 in 8. Intervals are Wilson's (1927), 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.colours import six_numbers
from emoscene_mini.world.captions import captions
from emoscene_mini.world.moods import GROUPS
from emoscene_mini.world.plan import Plan, plan, read_cues
from emoscene_mini.world.render_pool import render_images
from emoscene_mini.world.roles import role_seeds
from emoscene_mini.world.votes import exact_posterior

LUMA = np.array([0.299, 0.587, 0.114])
FOLDS = 4
"""Parts of the rendered images; a fitted reader is scored on each after it was fitted on the others."""
Z = 1.96
"""The normal deviate of a 95 % interval."""


@dataclass(frozen=True)
class Reading:
    """A reader's accuracy, or another share.

    Args:
        name: What reads, and what is read.
        value: The share of right answers.
        low: The interval's lower end.
        high: Its upper end.
        bound: What the share should be, in words.
    """

    name: str
    value: float
    low: float
    high: float
    bound: str = ""


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Compute Wilson's interval of a share.

    Args:
        right: How many of them.
        total: Of how many; at least 1.

    Returns:
        The ends of the 95 % interval.
    """
    share = right / total
    middle = share + Z * Z / (2 * total)
    half = Z * np.sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    scale = 1 + Z * Z / total
    return float((middle - half) / scale), float((middle + half) / scale)


def measure_share(name: str, hits: Iterable[bool], bound: str = "") -> Reading:
    """Count hits.

    Args:
        name: The reading's name.
        hits: Whether each answer was right; at least one.
        bound: What the share should be, in words.

    Returns:
        The share and its interval.
    """
    counted = np.fromiter(hits, bool)
    right, total = int(counted.sum()), len(counted)
    return Reading(name, right / total, *wilson_interval(right, total), bound)


def draw_plans(role: str, number: int) -> list[Plan]:
    """Draw plans of one emotion, those without emotion and the mixtures left out.

    Args:
        role: Whose seeds, a name of `world.roles.ROLES`.
        number: How many.

    Returns:
        The plans.
    """
    plans: list[Plan] = []
    for seed in role_seeds(role, 2 * number + 50):
        drawn = plan(seed)
        if drawn.intended:
            plans.append(drawn)
        if len(plans) == number:
            break
    return plans


def intended_emotions(plans: Sequence[Plan]) -> np.ndarray:
    """List the emotion that each plan was drawn for.

    Args:
        plans: N plans.

    Returns:
        Places in `EMOTIONS` [N].
    """
    return np.array([EMOTIONS.index(drawn.intended) for drawn in plans])


def voted_emotions(plans: Sequence[Plan]) -> np.ndarray:
    """List the emotion that most viewers named: the label.

    Args:
        plans: N plans.

    Returns:
        Places in `EMOTIONS` [N].
    """
    return np.array([int(np.argmax(drawn.votes)) for drawn in plans])


def read_exactly(plans: Sequence[Plan], groups: Sequence[str] = tuple(GROUPS)) -> np.ndarray:
    """Read the most probable emotion of each plan from the exact chances of some groups of cues.

    Args:
        plans: N plans.
        groups: Names of `GROUPS`.

    Returns:
        Numbers of emotions [N].
    """
    answers = np.zeros(len(plans), int)
    for place, drawn in enumerate(plans):
        seen = read_cues(drawn)
        answers[place] = exact_posterior({group: seen[group] for group in groups if group in seen}).argmax()
    return answers


def read_captions(known: Sequence[Plan], new: Sequence[Plan]) -> np.ndarray:
    """Fit naive Bayes on the clauses of long captions, and read new ones.

    Args:
        known: Plans whose captions and labels are learnt.
        new: N other plans.

    Returns:
        Numbers of emotions [N].
    """
    reader = make_pipeline(CountVectorizer(analyzer=split_clauses), BernoulliNB(alpha=0.1))
    reader.fit([captions(drawn)[1] for drawn in known], voted_emotions(known))
    answers: np.ndarray = reader.predict([captions(drawn)[1] for drawn in new])
    return answers


def split_clauses(caption: str) -> list[str]:
    """Split a long caption into its clauses.

    Args:
        caption: The caption.

    Returns:
        The clauses, in order.
    """
    return caption.split(", ")


def colour_grid(pixels: np.ndarray, cells: int = 4) -> np.ndarray:
    """Compute the mean colour of each cell of a grid.

    Args:
        pixels: Images [N, H, W, 3], 0 to 255; H and W multiples of `cells`.
        cells: Cells a side.

    Returns:
        Features [N, 3 * cells * cells].
    """
    count, height, width, _ = pixels.shape
    blocks = pixels.reshape(count, cells, height // cells, cells, width // cells, 3).astype(np.float32) / 255
    return blocks.mean((2, 4)).reshape(count, -1)


def grey_grid(pixels: np.ndarray, cells: int = 4) -> np.ndarray:
    """Compute the mean grey of each cell of a grid, as `colour_grid` does for colours.

    Args:
        pixels: Images [N, H, W, 3], 0 to 255; H and W multiples of `cells`.
        cells: Cells a side.

    Returns:
        Features [N, cells * cells].
    """
    grid = colour_grid(pixels, cells).reshape(len(pixels), -1, 3)
    grey: np.ndarray = grid @ LUMA
    return grey


def read_features(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Read each image by a linear discriminant that was fitted on the other folds.

    Args:
        features: [N, D].
        labels: Numbers of emotions [N].

    Returns:
        Numbers of emotions [N].
    """
    answers = np.zeros_like(labels)
    folds = np.arange(len(labels)) % FOLDS
    for fold in range(FOLDS):
        reader = LinearDiscriminantAnalysis().fit(features[folds != fold], labels[folds != fold])
        answers[folds == fold] = reader.predict(features[folds == fold])
    return answers


PIXEL_READERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "six numbers": (six_numbers, "<= .28"),
    "4 x 4 grid of colours": (colour_grid, "<= .35"),
    "4 x 4 grid in grey": (grey_grid, "<= .35"),
}
"""What linear discriminants read of the pixels, and what they may find."""


def measure_plans(number: int) -> list[Reading]:
    """Measure the readers that need no pixels.

    Args:
        number: How many held-out plans are read; naive Bayes is fitted on twice as many others.

    Returns:
        The readings.
    """
    plans = draw_plans("heldout", number)
    intended, label = intended_emotions(plans), voted_emotions(plans)
    answers = read_exactly(plans)
    found = [
        measure_share("all cues, intended emotion", answers == intended, ".78 to .88"),
        measure_share("all cues, label", answers == label),
    ]
    for group in GROUPS:
        alone = read_exactly(plans, [group])
        bound = "<= .30" if group == "palette" else "<= .52"
        found.append(measure_share(f"{group}, intended emotion", alone == intended, bound))
        found.append(measure_share(f"{group}, label", alone == label))
    worded = read_captions(draw_plans("methods", 2 * number), plans)
    found.append(measure_share("long caption, label", worded == label, "<= .45"))
    divided = (max(drawn.votes) < 0.5 for drawn in plans)
    found.append(measure_share("largest vote below half", divided, "about .10"))
    return found


def measure_pixels(number: int, workers: int | None = None) -> list[Reading]:
    """Render held-out images and measure the readers of their pixels.

    Args:
        number: How many images.
        workers: Rendering processes; all cores if None.

    Returns:
        The readings.
    """
    plans = draw_plans("heldout", number)
    labels = voted_emotions(plans)
    rendered = render_images([{"seed": drawn.seed} for drawn in plans], 128, workers)
    pixels = np.stack([image.pixels for image in rendered])
    found = []
    for name, (compute_features, bound) in PIXEL_READERS.items():
        answers = read_features(compute_features(pixels), labels)
        found.append(measure_share(f"{name}, label", answers == labels, bound))
    return found


def format_readings(readings: Iterable[Reading]) -> str:
    """Format readings as a table, one a line: share, interval, name, bound."""
    lines = []
    for one in readings:
        lines.append(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]  {one.name:<34}{one.bound}".rstrip())
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all readers and print them."""
    parser = argparse.ArgumentParser(prog="python -m emoscene_mini.readers", description=main.__doc__)
    parser.add_argument("--number", type=int, default=800, help="rendered images that are read (default: 800)")
    parser.add_argument("--plans", type=int, default=4000, help="plans that are read (default: 4000)")
    parser.add_argument("--workers", type=int, help="rendering processes (default: one for each core)")
    asked = parser.parse_args(arguments)
    print(format_readings(measure_plans(asked.plans)))
    print(format_readings(measure_pixels(asked.number, asked.workers)))


if __name__ == "__main__":
    main()
